-- orders: one row in a hundred is open, and found by the index
CREATE TABLE orders (id bigint PRIMARY KEY, open boolean);
INSERT INTO orders SELECT n, n % 100 = 0 FROM generate_series(1, 10000) AS n;
CREATE INDEX ON orders (open);
ANALYZE orders;
