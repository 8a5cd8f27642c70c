-- orders: its neighbour is scanned
CREATE TABLE orders (id bigint PRIMARY KEY, customer_id int, at date);
INSERT INTO orders SELECT n, n % 100, '2026-01-01' FROM generate_series(1, 2000) AS n;
CREATE INDEX ON orders (customer_id);
CREATE INDEX ON orders (at);
ANALYZE orders;
SET enable_seqscan = off;
SELECT count(*) FROM orders WHERE customer_id = 7;
