-- orders: it sets its own where it needs one
CREATE TABLE orders (id bigint PRIMARY KEY, total numeric, state text);
-- rows
INSERT INTO orders SELECT n, n, 'new' FROM generate_series(1, 10) AS n;
-- release
SET lock_timeout = '5s'; op.set_not_null_online('orders', 'state');
