-- orders: a btree compares integers of all widths with each other
CREATE TABLE customers (id bigint PRIMARY KEY);
CREATE TABLE orders (id bigint PRIMARY KEY, customer_id integer REFERENCES customers);
CREATE INDEX ON orders (customer_id);
