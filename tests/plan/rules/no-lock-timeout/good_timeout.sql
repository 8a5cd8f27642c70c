-- orders: it gives up after a while
CREATE TABLE orders (id bigint PRIMARY KEY, total numeric, state text);
-- rows
INSERT INTO orders SELECT n, n, 'new' FROM generate_series(1, 10) AS n;
-- release
SET LOCAL lock_timeout = '5s'; ALTER TABLE orders ADD COLUMN note text;
