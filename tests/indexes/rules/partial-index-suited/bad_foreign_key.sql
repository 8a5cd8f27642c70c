-- orders: hardly any order has a voucher; the foreign key is served as before
CREATE TABLE vouchers (id int PRIMARY KEY);
INSERT INTO vouchers SELECT generate_series(1, 10000);
CREATE TABLE orders (id bigint PRIMARY KEY, voucher_id int);
INSERT INTO orders SELECT n, CASE WHEN n % 20 = 0 THEN n END FROM generate_series(1, 10000) AS n;
ALTER TABLE orders ADD FOREIGN KEY (voucher_id) REFERENCES vouchers;
CREATE INDEX ON orders (voucher_id);
ANALYZE orders;
SET enable_seqscan = off;
SELECT count(*) FROM orders WHERE voucher_id = 20;
