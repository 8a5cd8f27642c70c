-- orders: the second key is sorted the other way
CREATE TABLE orders (id bigint PRIMARY KEY, customer_id bigint, at date);
CREATE INDEX ON orders (customer_id, at);
CREATE INDEX ON orders (customer_id, at DESC);
