-- orders: a thousand customers
CREATE TABLE orders (id bigint PRIMARY KEY, customer_id int);
INSERT INTO orders SELECT n, n % 1000 FROM generate_series(1, 10000) AS n;
CREATE INDEX ON orders (customer_id);
ANALYZE orders;
