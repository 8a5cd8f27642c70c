-- orders: the index leaves out rows by a column that is not in the key
CREATE TABLE customers (id bigint PRIMARY KEY);
CREATE TABLE orders (id bigint PRIMARY KEY, customer_id bigint REFERENCES customers, paid date);
CREATE INDEX ON orders (customer_id) WHERE customer_id IS NOT NULL AND paid IS NOT NULL;
