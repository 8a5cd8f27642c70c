-- orders: the last part was attached
CREATE TABLE orders (id bigint PRIMARY KEY, customer_id bigint) PARTITION BY RANGE (id);
CREATE TABLE orders_1 PARTITION OF orders FOR VALUES FROM (0) TO (100);
CREATE INDEX by_customer ON ONLY orders (customer_id);
CREATE INDEX part ON orders_1 (customer_id);
ALTER INDEX by_customer ATTACH PARTITION part;
