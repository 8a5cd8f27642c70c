-- orders: a foreign table has no part, and needs none
CREATE TABLE orders (id bigint, customer_id bigint) PARTITION BY RANGE (id);
CREATE TABLE orders_1 PARTITION OF orders FOR VALUES FROM (0) TO (100);
CREATE FOREIGN DATA WRAPPER elsewhere;
CREATE SERVER archive FOREIGN DATA WRAPPER elsewhere;
CREATE FOREIGN TABLE orders_0 PARTITION OF orders FOR VALUES FROM (-100) TO (0) SERVER archive;
CREATE INDEX ON orders (customer_id);
