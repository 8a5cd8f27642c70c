-- orders: the index was not built to its end
CREATE TABLE customers (id bigint PRIMARY KEY);
CREATE TABLE orders (id bigint PRIMARY KEY, customer_id bigint REFERENCES customers);
CREATE INDEX orders_customer ON orders (customer_id);
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'orders_customer'::regclass;
