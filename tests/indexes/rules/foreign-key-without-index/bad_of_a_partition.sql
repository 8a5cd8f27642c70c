-- orders_1: the foreign key is one of the partition alone
CREATE TABLE customers (id bigint PRIMARY KEY);
CREATE TABLE orders (id bigint, customer_id bigint) PARTITION BY RANGE (id);
CREATE TABLE orders_1 PARTITION OF orders FOR VALUES FROM (0) TO (100);
ALTER TABLE orders_1 ADD FOREIGN KEY (customer_id) REFERENCES customers;
