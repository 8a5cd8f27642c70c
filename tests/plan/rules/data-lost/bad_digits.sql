-- orders: of 17 digits 15 are left
CREATE TABLE orders (id bigint PRIMARY KEY, total double precision, state text);
-- rows
INSERT INTO orders SELECT n, n, 'new' FROM generate_series(1, 10) AS n;
-- release
ALTER TABLE orders ALTER COLUMN total TYPE numeric;
