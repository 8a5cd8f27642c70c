-- orders: the first index would be there the second time
CREATE TABLE orders (id bigint PRIMARY KEY, total numeric, state text);
-- rows
INSERT INTO orders SELECT n, n, 'new' FROM generate_series(1, 10) AS n;
-- release
CREATE INDEX CONCURRENTLY by_state ON orders (state); CREATE INDEX CONCURRENTLY by_total ON orders (total);
