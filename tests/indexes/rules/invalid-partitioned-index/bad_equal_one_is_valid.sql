-- orders: somebody has built it again under another name
CREATE TABLE orders (id bigint PRIMARY KEY, customer_id bigint) PARTITION BY RANGE (id);
CREATE TABLE orders_1 PARTITION OF orders FOR VALUES FROM (0) TO (100);
CREATE INDEX first_try ON ONLY orders (customer_id);
CREATE INDEX by_customer ON orders (customer_id);
