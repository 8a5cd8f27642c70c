-- orders: each partition has an equal index, and none is attached
CREATE TABLE orders (id bigint PRIMARY KEY, customer_id bigint) PARTITION BY RANGE (id);
CREATE TABLE orders_1 PARTITION OF orders FOR VALUES FROM (0) TO (100);
CREATE INDEX by_customer ON ONLY orders (customer_id);
CREATE INDEX ON orders_1 (customer_id);
