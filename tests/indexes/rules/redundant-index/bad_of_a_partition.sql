-- orders_1: the partition has an index of its own beside its part of the table's
CREATE TABLE orders (id bigint PRIMARY KEY, customer_id bigint) PARTITION BY RANGE (id);
CREATE TABLE orders_1 PARTITION OF orders FOR VALUES FROM (0) TO (100);
CREATE INDEX ON orders (customer_id);
CREATE INDEX again ON orders_1 (customer_id);
