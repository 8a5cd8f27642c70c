-- orders: the type below the domain differs
CREATE DOMAIN customer AS integer CHECK (VALUE > 0);
CREATE TABLE customers (id bigint PRIMARY KEY);
CREATE TABLE orders (id bigint PRIMARY KEY, customer_id customer REFERENCES customers);
