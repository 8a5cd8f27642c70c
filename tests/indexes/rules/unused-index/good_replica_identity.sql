-- orders: a replica tells the rows apart by it
CREATE TABLE orders (id bigint PRIMARY KEY, number text NOT NULL);
INSERT INTO orders SELECT n, n FROM generate_series(1, 2000) AS n;
CREATE UNIQUE INDEX replicated ON orders (number);
ALTER TABLE orders REPLICA IDENTITY USING INDEX replicated;
ANALYZE orders;
