-- orders: it keeps numbers unique, scanned or not
CREATE TABLE orders (id bigint PRIMARY KEY, number text);
INSERT INTO orders SELECT n, n FROM generate_series(1, 2000) AS n;
CREATE UNIQUE INDEX ON orders (number);
ANALYZE orders;
