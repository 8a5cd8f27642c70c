-- orders: IF NOT EXISTS passes over it
CREATE TABLE orders (id bigint PRIMARY KEY, total numeric, state text);
-- rows
CREATE INDEX by_state ON orders (state);
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'by_state'::regclass;
-- release
CREATE INDEX CONCURRENTLY IF NOT EXISTS by_state ON orders (state);
