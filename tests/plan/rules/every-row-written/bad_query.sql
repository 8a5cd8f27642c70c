-- orders: by a query
CREATE TABLE orders (id bigint PRIMARY KEY, total integer, state text);
-- rows
INSERT INTO orders SELECT n, n, 'new' FROM generate_series(1, 10) AS n;
-- release
WITH written AS (UPDATE orders SET state = 'old' RETURNING id) SELECT count(*) FROM written;
