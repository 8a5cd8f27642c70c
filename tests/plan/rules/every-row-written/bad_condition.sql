-- orders: nobody knows how many rows that is, and all are read
CREATE TABLE orders (id bigint PRIMARY KEY, total numeric, state text);
-- rows
INSERT INTO orders SELECT n, n, 'new' FROM generate_series(1, 10) AS n;
-- release
UPDATE orders SET state = 'old' WHERE total IS NULL;
