-- orders: too few rows to matter
CREATE TABLE orders (id bigint PRIMARY KEY, open boolean);
INSERT INTO orders SELECT n, hashint8(n) % 2 = 0 FROM generate_series(1, 1000) AS n;
CREATE INDEX ON orders (open);
ANALYZE orders;
