-- orders: it is dropped first
CREATE TABLE orders (id bigint PRIMARY KEY, total numeric, state text);
-- rows
CREATE INDEX by_state ON orders (state);
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'by_state'::regclass;
-- release
DROP INDEX CONCURRENTLY IF EXISTS by_state; CREATE INDEX CONCURRENTLY by_state ON orders (state);
