-- orders: a second key tells more
CREATE TABLE orders (id bigint PRIMARY KEY, open boolean, at date);
INSERT INTO orders SELECT n, hashint8(n) % 2 = 0, '2026-01-01'::date + n
FROM generate_series(1, 10000) AS n;
CREATE INDEX ON orders (open, at);
ANALYZE orders;
