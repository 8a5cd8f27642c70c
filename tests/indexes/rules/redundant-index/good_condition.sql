-- orders: a partial index is smaller than that of all rows
CREATE TABLE orders (id bigint PRIMARY KEY, customer_id bigint, open boolean);
CREATE INDEX ON orders (customer_id);
CREATE INDEX ON orders (customer_id) WHERE open;
