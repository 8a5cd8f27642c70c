-- orders: scanned now and then, which only tells that somebody was misled
CREATE TABLE orders (id bigint PRIMARY KEY, open boolean);
INSERT INTO orders SELECT n, hashint8(n) % 2 = 0 FROM generate_series(1, 10000) AS n;
CREATE INDEX ON orders (open);
ANALYZE orders;
SET enable_seqscan = off;
SELECT count(*) FROM orders WHERE open;
