-- orders: a unique index on an expression, with a condition
CREATE TABLE orders (id bigint, number text) PARTITION BY RANGE (id);
CREATE TABLE orders_1 PARTITION OF orders FOR VALUES FROM (0) TO (100);
CREATE UNIQUE INDEX by_number ON ONLY orders (id, lower(number)) WHERE number IS NOT NULL;
