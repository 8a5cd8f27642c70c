-- orders: what the one includes is a key of the other
CREATE TABLE orders (id bigint PRIMARY KEY, customer_id bigint, at date, state text);
CREATE INDEX ON orders (customer_id) INCLUDE (at);
CREATE INDEX ON orders (customer_id, at) INCLUDE (state);
