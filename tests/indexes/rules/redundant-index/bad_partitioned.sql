-- orders: told of the table, not of its partitions
CREATE TABLE orders (id bigint PRIMARY KEY, customer_id bigint, at date) PARTITION BY RANGE (id);
CREATE TABLE orders_1 PARTITION OF orders FOR VALUES FROM (0) TO (100);
CREATE INDEX ON orders (customer_id);
CREATE INDEX ON orders (customer_id, at);
