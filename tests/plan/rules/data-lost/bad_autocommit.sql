-- orders: one of its columns, outside of a transaction
CREATE TABLE orders (id bigint PRIMARY KEY, total numeric, state text);
-- rows
INSERT INTO orders SELECT n, n, 'new' FROM generate_series(1, 10) AS n;
-- release
ALTER TABLE orders ALTER COLUMN state SET DEFAULT 'CONCURRENTLY', DROP COLUMN total;
ALTER TABLE orders ALTER COLUMN state SET DEFAULT 'new';
