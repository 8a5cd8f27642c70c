-- orders: its file is of the same transaction
CREATE TABLE orders (id bigint PRIMARY KEY, total integer, state text);
-- rows
INSERT INTO orders SELECT n, n, 'new' FROM generate_series(1, 10) AS n;
-- release
ALTER TABLE orders ALTER COLUMN total TYPE bigint;
TRUNCATE orders;
