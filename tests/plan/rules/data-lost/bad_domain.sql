-- orders: a column, with its domain
CREATE DOMAIN note AS text;
CREATE TABLE orders (id bigint PRIMARY KEY, note note);
-- rows
INSERT INTO orders SELECT n, 'fine' FROM generate_series(1, 10) AS n;
-- release
DROP DOMAIN note CASCADE;
