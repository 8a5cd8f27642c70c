-- orders: it is another one by then
CREATE TABLE orders (id bigint PRIMARY KEY, total integer, state text);
-- rows
INSERT INTO orders SELECT n, n, 'new' FROM generate_series(1, 10) AS n;
-- release
ALTER TABLE orders RENAME TO orders_old;
CREATE INDEX ON orders_old (state);
