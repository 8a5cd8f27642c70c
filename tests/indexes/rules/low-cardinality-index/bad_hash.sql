-- orders: a hash index is no better
CREATE TABLE orders (id bigint PRIMARY KEY, state text);
INSERT INTO orders SELECT n, 'state' || abs(hashint8(n)) % 5 FROM generate_series(1, 10000) AS n;
CREATE INDEX ON orders USING hash (state);
ANALYZE orders;
