-- orders: by another schema
CREATE TABLE orders (id bigint PRIMARY KEY, total numeric, state text);
-- rows
INSERT INTO orders SELECT n, n, 'new' FROM generate_series(1, 10) AS n;
-- release
CREATE SCHEMA archive_of_orders;
ALTER TABLE orders SET SCHEMA archive_of_orders;
DROP TABLE archive_of_orders.orders;
