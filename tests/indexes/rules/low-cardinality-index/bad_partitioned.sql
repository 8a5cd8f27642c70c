-- orders: of all partitions together
CREATE TABLE orders (id bigint PRIMARY KEY, open boolean) PARTITION BY RANGE (id);
CREATE TABLE orders_1 PARTITION OF orders FOR VALUES FROM (0) TO (5000);
CREATE TABLE orders_2 PARTITION OF orders FOR VALUES FROM (5000) TO (50000);
INSERT INTO orders SELECT n, hashint8(n) % 2 = 0 FROM generate_series(1, 10000) AS n;
CREATE INDEX ON orders (open);
ANALYZE orders;
