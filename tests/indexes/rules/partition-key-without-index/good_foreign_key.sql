-- orders: the foreign key tells of the same column
CREATE TABLE tenants (id int PRIMARY KEY);
CREATE TABLE orders (id bigint, tenant_id int REFERENCES tenants) PARTITION BY HASH (tenant_id);
CREATE TABLE orders_0 PARTITION OF orders FOR VALUES WITH (MODULUS 1, REMAINDER 0);
