-- orders: it is for a foreign key that the partition has alone
-- now: 1 day later
CREATE TABLE customers (id bigint PRIMARY KEY);
CREATE TABLE orders (id bigint PRIMARY KEY, customer_id bigint) PARTITION BY RANGE (id);
CREATE TABLE orders_1 PARTITION OF orders FOR VALUES FROM (0) TO (100);
ALTER TABLE orders_1 ADD FOREIGN KEY (customer_id) REFERENCES customers;
CREATE INDEX ON orders_1 (customer_id);
