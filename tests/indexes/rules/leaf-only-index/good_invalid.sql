-- orders: building it was cut
-- now: 1 day later
CREATE TABLE orders (id bigint PRIMARY KEY, customer_id bigint) PARTITION BY RANGE (id);
CREATE TABLE orders_1 PARTITION OF orders FOR VALUES FROM (0) TO (100);
CREATE INDEX by_customer ON orders_1 (customer_id);
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'by_customer'::regclass;
