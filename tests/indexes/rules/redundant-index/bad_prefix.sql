-- orders: one index begins as the other
CREATE TABLE orders (id bigint PRIMARY KEY, customer_id bigint, at date);
CREATE INDEX ON orders (customer_id);
CREATE INDEX ON orders (customer_id, at);
