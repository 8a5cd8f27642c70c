-- orders: they find out what is left
CREATE TABLE orders (id bigint PRIMARY KEY, total numeric, state text);
-- rows
INSERT INTO orders SELECT n, n, 'new' FROM generate_series(1, 10) AS n;
-- release
op.create_index_online('by_state', 'orders', ['state']); op.create_index_online('by_total', 'orders', ['total']);
