-- orders_1: the index is one of the partition alone
CREATE TABLE orders (id bigint PRIMARY KEY, state text) PARTITION BY RANGE (id);
CREATE TABLE orders_1 PARTITION OF orders FOR VALUES FROM (0) TO (5000);
INSERT INTO orders SELECT n, 'new' FROM generate_series(1, 2000) AS n;
CREATE INDEX ON orders_1 (state);
ANALYZE orders;
