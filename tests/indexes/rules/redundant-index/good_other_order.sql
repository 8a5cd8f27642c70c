-- orders: the keys come in another order
CREATE TABLE orders (id bigint PRIMARY KEY, customer_id bigint, at date);
CREATE INDEX ON orders (customer_id, at);
CREATE INDEX ON orders (at, customer_id);
