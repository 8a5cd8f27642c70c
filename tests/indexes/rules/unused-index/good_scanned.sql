-- orders: somebody uses it
CREATE TABLE orders (id bigint PRIMARY KEY, state text);
INSERT INTO orders SELECT n, 'new' || n FROM generate_series(1, 2000) AS n;
CREATE INDEX ON orders (state);
ANALYZE orders;
SET enable_seqscan = off;
SELECT count(*) FROM orders WHERE state = 'new7';
