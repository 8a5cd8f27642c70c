-- orders: scans of the shorter one, which is redundant, will be its own
CREATE TABLE orders (id bigint PRIMARY KEY, customer_id int, at date);
INSERT INTO orders SELECT n, n % 100, '2026-01-01' FROM generate_series(1, 2000) AS n;
CREATE INDEX shorter ON orders (customer_id);
SET enable_seqscan = off;
SELECT count(*) FROM orders WHERE customer_id = 7;
CREATE INDEX longer ON orders (customer_id, at);
ANALYZE orders;
