-- orders: CLUSTER goes by it
CREATE TABLE orders (id bigint PRIMARY KEY, customer_id bigint, at date);
CREATE INDEX sorted ON orders (customer_id);
CREATE INDEX ON orders (customer_id, at);
ALTER TABLE orders CLUSTER ON sorted;
