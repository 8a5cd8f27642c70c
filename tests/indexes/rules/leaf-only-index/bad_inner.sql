-- orders: an inner partition has it for all of its own
-- now: 1 day later
CREATE TABLE orders (id bigint PRIMARY KEY, customer_id bigint) PARTITION BY RANGE (id);
CREATE TABLE orders_1 PARTITION OF orders FOR VALUES FROM (0) TO (100) PARTITION BY HASH (id);
CREATE TABLE orders_1_0 PARTITION OF orders_1 FOR VALUES WITH (MODULUS 1, REMAINDER 0);
CREATE TABLE orders_2 PARTITION OF orders FOR VALUES FROM (100) TO (200);
CREATE INDEX ON orders_1 (customer_id);
