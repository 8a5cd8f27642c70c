-- orders: it is not built to its end
CREATE TABLE orders (id bigint PRIMARY KEY, state text);
INSERT INTO orders SELECT n, 'new' FROM generate_series(1, 2000) AS n;
CREATE INDEX by_state ON orders (state);
ANALYZE orders;
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'by_state'::regclass;
