-- orders: of a partitioned table, told once
CREATE TABLE orders (id serial PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE orders_1 PARTITION OF orders FOR VALUES FROM (0) TO (100);
SELECT setval('orders_id_seq', 2147483000);
