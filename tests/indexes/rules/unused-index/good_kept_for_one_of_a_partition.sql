-- orders: scans of the shorter one of a partition, which is redundant there, will be its own
CREATE TABLE orders (id bigint PRIMARY KEY, customer_id int, at date) PARTITION BY RANGE (id);
CREATE TABLE orders_1 PARTITION OF orders FOR VALUES FROM (0) TO (1000);
CREATE TABLE orders_2 PARTITION OF orders FOR VALUES FROM (1000) TO (5000);
INSERT INTO orders SELECT n, n % 100, '2026-01-01' FROM generate_series(1, 2000) AS n;
CREATE INDEX shorter ON orders_2 (customer_id);
SET enable_seqscan = off;
SELECT count(*) FROM orders_2 WHERE customer_id = 7;
CREATE INDEX longer ON orders (customer_id, at);
ANALYZE orders;
