-- orders: the partition was attached with an index that the others lack, and other columns first
-- now: 1 day later
CREATE TABLE orders (id bigint PRIMARY KEY, customer_id bigint) PARTITION BY RANGE (id);
CREATE TABLE orders_1 (gone text, customer_id bigint, id bigint PRIMARY KEY);
ALTER TABLE orders_1 DROP COLUMN gone;
CREATE INDEX ON orders_1 (customer_id);
ALTER TABLE orders ATTACH PARTITION orders_1 FOR VALUES FROM (0) TO (100);
