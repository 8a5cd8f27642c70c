-- orders: a cast in brackets
CREATE TABLE orders (id bigint PRIMARY KEY, total smallint);
-- rows
INSERT INTO orders SELECT n, n FROM generate_series(1, 10) AS n;
-- release
ALTER TABLE orders ALTER COLUMN total TYPE integer USING (total::integer);
