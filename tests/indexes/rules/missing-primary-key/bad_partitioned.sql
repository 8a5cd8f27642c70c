-- orders: neither the table nor its partitions
CREATE TABLE orders (id bigint) PARTITION BY RANGE (id);
CREATE TABLE orders_1 PARTITION OF orders FOR VALUES FROM (0) TO (100);
