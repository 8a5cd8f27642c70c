-- orders: partitioned twice
CREATE TABLE orders (id bigint PRIMARY KEY, customer_id bigint) PARTITION BY RANGE (id);
CREATE TABLE orders_1 PARTITION OF orders FOR VALUES FROM (0) TO (100) PARTITION BY HASH (id);
CREATE TABLE orders_1_0 PARTITION OF orders_1 FOR VALUES WITH (MODULUS 1, REMAINDER 0);
CREATE INDEX by_customer ON ONLY orders (customer_id);
