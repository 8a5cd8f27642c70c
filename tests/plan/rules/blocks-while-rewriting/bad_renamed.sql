-- orders: it is another one by then
CREATE TABLE orders (id bigint PRIMARY KEY, total integer, state text);
-- rows
INSERT INTO orders SELECT n, n, 'new' FROM generate_series(1, 10) AS n;
-- release
ALTER TABLE orders RENAME TO orders_old;
CREATE SCHEMA moved;
ALTER TABLE orders_old SET SCHEMA moved;
ALTER TABLE moved.orders_old ALTER COLUMN total TYPE bigint;
