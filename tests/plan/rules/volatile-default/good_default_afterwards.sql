-- orders: the default counts for new rows
CREATE TABLE orders (id bigint PRIMARY KEY, total numeric, state text);
-- rows
INSERT INTO orders SELECT n, n, 'new' FROM generate_series(1, 10) AS n;
-- release
ALTER TABLE orders ADD COLUMN token uuid; ALTER TABLE orders ALTER COLUMN token SET DEFAULT gen_random_uuid();
