-- orders: the index leaves out only rows that refer to nothing
CREATE TABLE customers (id bigint PRIMARY KEY);
CREATE TABLE orders (id bigint PRIMARY KEY, customer_id bigint REFERENCES customers);
CREATE INDEX ON orders (customer_id) WHERE customer_id IS NOT NULL;
