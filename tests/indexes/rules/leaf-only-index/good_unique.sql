-- orders: it keeps numbers unique in its partition, which the table cannot
-- now: 1 day later
CREATE TABLE orders (id bigint PRIMARY KEY, number text) PARTITION BY RANGE (id);
CREATE TABLE orders_1 PARTITION OF orders FOR VALUES FROM (0) TO (100);
CREATE UNIQUE INDEX ON orders_1 (number);
