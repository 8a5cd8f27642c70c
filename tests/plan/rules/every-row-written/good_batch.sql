-- orders: a batch is committed by itself
CREATE TABLE orders (id bigint PRIMARY KEY, total numeric, state text);
-- rows
INSERT INTO orders SELECT n, n, 'new' FROM generate_series(1, 10) AS n;
-- release
UPDATE orders SET state = 'old' WHERE total < 5 /* in an autocommit block, as for CONCURRENTLY */;
