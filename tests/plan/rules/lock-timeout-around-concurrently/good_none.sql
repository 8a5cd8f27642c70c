-- orders: it may wait
CREATE TABLE orders (id bigint PRIMARY KEY, total numeric, state text);
-- rows
INSERT INTO orders SELECT n, n, 'new' FROM generate_series(1, 10) AS n;
-- release
SET lock_timeout = 0; CREATE INDEX CONCURRENTLY by_state ON orders (state);
