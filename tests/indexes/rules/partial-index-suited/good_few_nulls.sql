-- orders: half of the rows are null
CREATE TABLE orders (id bigint PRIMARY KEY, deleted_at timestamptz);
INSERT INTO orders SELECT n, CASE WHEN n % 2 = 0 THEN '2026-01-01Z'::timestamptz + n * interval '1 s' END
FROM generate_series(1, 10000) AS n;
CREATE INDEX ON orders (deleted_at);
ANALYZE orders;
SET enable_seqscan = off;
SELECT count(*) FROM orders WHERE deleted_at = '2026-01-01Z';
