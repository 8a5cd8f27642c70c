-- orders: the rows would be there the second time
CREATE TABLE orders (id bigint PRIMARY KEY, total numeric, state text);
-- rows
INSERT INTO orders SELECT n, n, 'new' FROM generate_series(1, 10) AS n;
-- release
INSERT INTO orders VALUES (99); CREATE INDEX CONCURRENTLY by_state ON orders (state);
