-- orders: the column is the second key of an index
CREATE TABLE customers (id bigint PRIMARY KEY);
CREATE TABLE orders (id bigint PRIMARY KEY, customer_id bigint REFERENCES customers, at date);
CREATE INDEX ON orders (at, customer_id);
