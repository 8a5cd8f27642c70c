-- orders: of a unique constraint, which is for a person to complete
CREATE TABLE orders (id bigint PRIMARY KEY, number text) PARTITION BY RANGE (id);
CREATE TABLE orders_1 PARTITION OF orders FOR VALUES FROM (0) TO (100);
ALTER TABLE ONLY orders ADD CONSTRAINT by_number UNIQUE (id, number);
