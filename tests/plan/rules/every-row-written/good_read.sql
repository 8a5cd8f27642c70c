-- orders: what is read is not written
CREATE TABLE orders (id bigint PRIMARY KEY, total numeric, state text);
-- rows
INSERT INTO orders SELECT n, n, 'new' FROM generate_series(1, 10) AS n;
-- release
CREATE TABLE copied (state text); INSERT INTO copied SELECT state FROM orders;
