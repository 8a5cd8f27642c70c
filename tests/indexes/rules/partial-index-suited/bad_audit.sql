-- orders: hardly anybody has updated a row; the order of the index is kept
CREATE TABLE orders (id bigint PRIMARY KEY, "Updated By" text);
INSERT INTO orders SELECT n, CASE WHEN n % 20 = 0 THEN 'user' || n END FROM generate_series(1, 10000) AS n;
CREATE INDEX ON orders ("Updated By" DESC NULLS LAST);
ANALYZE orders;
SET enable_seqscan = off;
SELECT count(*) FROM orders WHERE "Updated By" = 'user20';
