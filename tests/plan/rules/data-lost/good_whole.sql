-- orders: without fractions
CREATE TABLE orders (id bigint PRIMARY KEY, total numeric(10,0));
-- rows
INSERT INTO orders SELECT n, n FROM generate_series(1, 10) AS n;
-- release
ALTER TABLE orders ALTER COLUMN total TYPE bigint;
