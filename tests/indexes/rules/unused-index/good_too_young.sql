-- orders: the counters are six days old
-- now: 6 days later
CREATE TABLE orders (id bigint PRIMARY KEY, state text);
INSERT INTO orders SELECT n, 'new' FROM generate_series(1, 2000) AS n;
CREATE INDEX ON orders (state);
ANALYZE orders;
