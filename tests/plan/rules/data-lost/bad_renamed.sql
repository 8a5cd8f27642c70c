-- orders: in another transaction
CREATE TABLE orders (id bigint PRIMARY KEY, total numeric, state text);
-- rows
INSERT INTO orders SELECT n, n, 'new' FROM generate_series(1, 10) AS n;
-- release
ALTER TABLE orders RENAME TO orders_old;
COMMENT ON TABLE orders_old IS 'CONCURRENTLY';
DROP TABLE orders_old;
