-- orders: the operation finds out
CREATE TABLE orders (id bigint PRIMARY KEY, total numeric, state text);
-- rows
CREATE INDEX by_state ON orders (state);
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'by_state'::regclass;
-- release
op.create_index_online('by_state', 'orders', ['state']);
