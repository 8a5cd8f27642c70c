-- orders: what it sets may be set again
CREATE TABLE orders (id bigint PRIMARY KEY, total numeric, state text);
-- rows
INSERT INTO orders SELECT n, n, 'new' FROM generate_series(1, 10) AS n;
-- release
ALTER TABLE orders ALTER COLUMN state SET DEFAULT 'x', ALTER COLUMN total DROP DEFAULT; CREATE INDEX CONCURRENTLY by_state ON orders (state);
