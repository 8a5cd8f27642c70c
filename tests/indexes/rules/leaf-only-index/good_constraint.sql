-- orders: the partition has a primary key of its own
-- now: 1 day later
CREATE TABLE orders (id bigint NOT NULL, at date) PARTITION BY RANGE (at);
CREATE TABLE orders_1 PARTITION OF orders FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
ALTER TABLE orders_1 ADD PRIMARY KEY (id);
