-- orders: one of two partitions has one
CREATE TABLE orders (id bigint NOT NULL, at date) PARTITION BY RANGE (at);
CREATE TABLE orders_1 PARTITION OF orders FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
CREATE TABLE orders_2 PARTITION OF orders FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
ALTER TABLE orders_1 ADD PRIMARY KEY (id);
