-- orders: neither column of the key is in an index
CREATE TABLE orders (id bigint, tenant_id int, year int) PARTITION BY RANGE (tenant_id, year);
CREATE TABLE orders_0 PARTITION OF orders FOR VALUES FROM (0, 0) TO (1, 0);
CREATE INDEX ON orders (id);
