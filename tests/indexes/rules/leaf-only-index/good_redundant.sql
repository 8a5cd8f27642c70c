-- orders: the table's index does what it does
-- now: 1 day later
CREATE TABLE orders (id bigint PRIMARY KEY, customer_id bigint) PARTITION BY RANGE (id);
CREATE TABLE orders_1 PARTITION OF orders FOR VALUES FROM (0) TO (100);
CREATE INDEX ON orders (customer_id, id);
CREATE INDEX ON orders_1 (customer_id);
