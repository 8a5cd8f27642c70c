-- orders: the index has open orders only
CREATE TABLE customers (id bigint PRIMARY KEY);
CREATE TABLE orders (id bigint PRIMARY KEY, customer_id bigint REFERENCES customers, open boolean);
CREATE INDEX ON orders (customer_id) WHERE open;
