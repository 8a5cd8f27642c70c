-- orders: a function that is not called
CREATE TABLE orders (id bigint PRIMARY KEY, total numeric, state text);
-- rows
INSERT INTO orders SELECT n, n, 'new' FROM generate_series(1, 10) AS n;
-- release
CREATE FUNCTION clean() RETURNS void LANGUAGE sql AS 'DELETE FROM orders';
