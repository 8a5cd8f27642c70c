-- orders: all of its rows, by a query
CREATE TABLE orders (id bigint PRIMARY KEY, total numeric, state text);
-- rows
INSERT INTO orders SELECT n, n, 'new' FROM generate_series(1, 10) AS n;
-- release
WITH gone AS (DELETE FROM orders RETURNING id) SELECT count(*) FROM gone;
