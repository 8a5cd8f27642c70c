-- orders: each partition has an index of its own, the table has none
CREATE TABLE customers (id bigint PRIMARY KEY);
CREATE TABLE orders (id bigint, customer_id bigint REFERENCES customers) PARTITION BY RANGE (id);
CREATE TABLE orders_1 PARTITION OF orders FOR VALUES FROM (0) TO (100);
CREATE TABLE orders_2 PARTITION OF orders FOR VALUES FROM (100) TO (200);
CREATE INDEX ON orders_1 (customer_id);
CREATE INDEX ON orders_2 (customer_id);
