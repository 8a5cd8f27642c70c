-- orders: partitioned twice, told once
CREATE TABLE customers (id bigint PRIMARY KEY);
CREATE TABLE orders (id bigint, customer_id bigint REFERENCES customers) PARTITION BY RANGE (id);
CREATE TABLE orders_1 PARTITION OF orders FOR VALUES FROM (0) TO (100) PARTITION BY HASH (id);
CREATE TABLE orders_1_0 PARTITION OF orders_1 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE orders_1_1 PARTITION OF orders_1 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
