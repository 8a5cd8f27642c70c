-- orders: told once, with the largest table
CREATE TABLE orders (id bigint PRIMARY KEY, total numeric, state text);
CREATE TABLE customers (id bigint PRIMARY KEY, name text);
-- rows
INSERT INTO orders SELECT n, n, 'new' FROM generate_series(1, 1000) AS n;
-- release
ALTER TABLE customers ADD COLUMN email text; ALTER TABLE orders ADD COLUMN note text;
