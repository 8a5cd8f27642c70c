-- orders: the operation lifts it
CREATE TABLE orders (id bigint PRIMARY KEY, total numeric, state text);
-- rows
INSERT INTO orders SELECT n, n, 'new' FROM generate_series(1, 10) AS n;
-- release
SET lock_timeout = '5s'; op.create_index_online('by_state', 'orders', ['state']);
