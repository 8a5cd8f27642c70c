-- orders: the hours are those of a zone
CREATE TABLE orders (id bigint PRIMARY KEY, at timestamp);
-- rows
INSERT INTO orders SELECT n, now() FROM generate_series(1, 10) AS n;
-- release
ALTER TABLE orders ALTER COLUMN at TYPE timestamptz USING at AT TIME ZONE 'UTC';
