-- orders: both have the same condition
CREATE TABLE orders (id bigint PRIMARY KEY, customer_id bigint, at date, open boolean);
CREATE INDEX ON orders (customer_id) WHERE open;
CREATE INDEX ON orders (customer_id, at) WHERE open;
