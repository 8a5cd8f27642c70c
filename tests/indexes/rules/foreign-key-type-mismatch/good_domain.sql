-- orders: the types below are the same
CREATE DOMAIN customer AS bigint;
CREATE DOMAIN good_customer AS customer;
CREATE TABLE customers (id bigint PRIMARY KEY);
CREATE TABLE orders (id bigint PRIMARY KEY, customer_id good_customer REFERENCES customers);
