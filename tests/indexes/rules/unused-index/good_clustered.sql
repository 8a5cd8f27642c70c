-- orders: CLUSTER goes by it
CREATE TABLE orders (id bigint PRIMARY KEY, state text);
INSERT INTO orders SELECT n, 'new' FROM generate_series(1, 2000) AS n;
CREATE INDEX sorted ON orders (state);
ALTER TABLE orders CLUSTER ON sorted;
ANALYZE orders;
