-- orders: its condition tells more
CREATE TABLE orders (id bigint PRIMARY KEY, open boolean);
INSERT INTO orders SELECT n, hashint8(n) % 2 = 0 FROM generate_series(1, 10000) AS n;
CREATE INDEX ON orders (open) WHERE id > 9900;
ANALYZE orders;
