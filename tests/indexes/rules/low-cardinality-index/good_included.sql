-- orders: it is read for what it includes
CREATE TABLE orders (id bigint PRIMARY KEY, open boolean, total int);
INSERT INTO orders SELECT n, hashint8(n) % 2 = 0, n FROM generate_series(1, 10000) AS n;
CREATE INDEX ON orders (open) INCLUDE (total);
ANALYZE orders;
