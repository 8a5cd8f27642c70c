-- orders: true, false and null, a third each
CREATE TABLE orders (id bigint PRIMARY KEY, open boolean);
INSERT INTO orders SELECT n, CASE abs(hashint8(n)) % 3 WHEN 0 THEN true WHEN 1 THEN false END
FROM generate_series(1, 10000) AS n;
CREATE INDEX ON orders (open);
ANALYZE orders;
