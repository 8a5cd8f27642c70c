-- orders: the time of the day
CREATE TABLE orders (id bigint PRIMARY KEY, at timestamptz);
-- rows
INSERT INTO orders SELECT n, now() FROM generate_series(1, 10) AS n;
-- release
ALTER TABLE orders ALTER COLUMN at TYPE date;
