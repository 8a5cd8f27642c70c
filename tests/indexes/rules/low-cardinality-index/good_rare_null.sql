-- orders: one row in a hundred has no state, and is found by the index
CREATE TABLE orders (id bigint PRIMARY KEY, state text);
INSERT INTO orders SELECT n, CASE WHEN n % 100 > 0 THEN 'state' || abs(hashint8(n)) % 3 END
FROM generate_series(1, 10000) AS n;
CREATE INDEX ON orders (state);
ANALYZE orders;
