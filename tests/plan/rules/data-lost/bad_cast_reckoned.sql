-- orders: more than a cast
CREATE TABLE orders (id bigint PRIMARY KEY, total numeric);
-- rows
INSERT INTO orders SELECT n, n FROM generate_series(1, 10) AS n;
-- release
ALTER TABLE orders ALTER COLUMN total TYPE bigint USING total::numeric / 100;
