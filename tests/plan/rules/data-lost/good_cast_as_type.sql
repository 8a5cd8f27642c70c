-- orders: a cast to the type as it is
CREATE TABLE orders (id bigint PRIMARY KEY, total numeric(10,2), at timestamp);
-- rows
INSERT INTO orders SELECT n, n, now() FROM generate_series(1, 10) AS n;
-- release
ALTER TABLE orders ALTER COLUMN total TYPE numeric(12,2) USING total::numeric(12, 2), ALTER at TYPE timestamp(6) with time zone USING CAST((at) AS timestamp(6) with time zone);
