-- orders: only one of them has the date
CREATE TABLE orders (id bigint PRIMARY KEY, customer_id bigint, state text, at date);
CREATE INDEX ON orders (customer_id) INCLUDE (at);
CREATE INDEX ON orders (customer_id, state);
