-- orders: a cast that rounds more than its type
CREATE TABLE orders (id bigint PRIMARY KEY, total numeric(10,4));
-- rows
INSERT INTO orders SELECT n, n FROM generate_series(1, 10) AS n;
-- release
ALTER TABLE orders ALTER COLUMN total TYPE numeric(10,4) USING total::numeric(10,1);
