-- orders: more than cents
CREATE TABLE orders (id bigint PRIMARY KEY, total double precision);
-- rows
INSERT INTO orders SELECT n, n FROM generate_series(1, 10) AS n;
-- release
ALTER TABLE orders ALTER COLUMN total TYPE numeric(10,2);
