-- orders: nothing was ever deleted
CREATE TABLE orders (id bigint PRIMARY KEY, deleted_at timestamptz);
INSERT INTO orders SELECT n FROM generate_series(1, 10000) AS n;
CREATE INDEX ON orders (deleted_at);
ANALYZE orders;
SET enable_seqscan = off;
SELECT count(*) FROM orders WHERE deleted_at > '2026-01-01Z';
