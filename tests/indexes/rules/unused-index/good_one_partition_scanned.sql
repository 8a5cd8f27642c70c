-- orders: somebody uses it in one partition
CREATE TABLE orders (id bigint PRIMARY KEY, state text) PARTITION BY RANGE (id);
CREATE TABLE orders_1 PARTITION OF orders FOR VALUES FROM (0) TO (1000);
CREATE TABLE orders_2 PARTITION OF orders FOR VALUES FROM (1000) TO (5000);
INSERT INTO orders SELECT n, 'new' || n FROM generate_series(1, 2000) AS n;
CREATE INDEX ON orders (state);
ANALYZE orders;
SET enable_seqscan = off;
SELECT count(*) FROM orders_2 WHERE state = 'new1700';
