-- orders: another name is free
CREATE TABLE orders (id bigint PRIMARY KEY, total numeric, state text);
-- rows
CREATE INDEX by_state ON orders (state);
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'by_state'::regclass;
-- release
CREATE INDEX CONCURRENTLY by_state_too ON orders (state);
