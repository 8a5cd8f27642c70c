-- orders: another one has its name, with no rows
CREATE TABLE orders (id bigint PRIMARY KEY, total integer, state text);
-- rows
INSERT INTO orders SELECT n, n, 'new' FROM generate_series(1, 10) AS n;
-- release
ALTER TABLE orders RENAME TO orders_old;
CREATE TABLE orders (id bigint, total integer);
ALTER TABLE orders ALTER COLUMN total TYPE bigint /* committed before, as for CONCURRENTLY */;
