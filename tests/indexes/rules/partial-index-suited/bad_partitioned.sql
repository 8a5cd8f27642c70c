-- orders: of all partitions together
CREATE TABLE orders (id bigint PRIMARY KEY, deleted_at timestamptz) PARTITION BY RANGE (id);
CREATE TABLE orders_1 PARTITION OF orders FOR VALUES FROM (0) TO (5000);
CREATE TABLE orders_2 PARTITION OF orders FOR VALUES FROM (5000) TO (50000);
INSERT INTO orders SELECT n, CASE WHEN n % 50 = 0 THEN '2026-01-01Z'::timestamptz + n * interval '1 s' END
FROM generate_series(1, 10000) AS n;
CREATE INDEX ON orders (deleted_at);
ANALYZE orders;
SET enable_seqscan = off;
SELECT count(*) FROM orders WHERE deleted_at > '2026-01-01Z';
