-- orders: the column is stored in an index, and is no key of it
CREATE TABLE customers (id bigint PRIMARY KEY);
CREATE TABLE orders (id bigint PRIMARY KEY, customer_id bigint REFERENCES customers, at date);
CREATE INDEX ON orders (at) INCLUDE (customer_id);
