-- orders: the fractions in an array
CREATE TABLE orders (id bigint PRIMARY KEY, totals numeric(10,2)[]);
-- rows
INSERT INTO orders SELECT n, ARRAY[n] FROM generate_series(1, 10) AS n;
-- release
ALTER TABLE orders ALTER COLUMN totals TYPE integer[];
