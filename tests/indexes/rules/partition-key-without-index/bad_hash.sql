-- orders: no index has the tenant
CREATE TABLE orders (id bigint, tenant_id int) PARTITION BY HASH (tenant_id);
CREATE TABLE orders_0 PARTITION OF orders FOR VALUES WITH (MODULUS 1, REMAINDER 0);
