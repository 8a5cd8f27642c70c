-- orders_1: a part of the table's index, which only REINDEX mends
CREATE TABLE orders (id bigint PRIMARY KEY, customer_id bigint) PARTITION BY RANGE (id);
CREATE TABLE orders_1 PARTITION OF orders FOR VALUES FROM (0) TO (100);
CREATE INDEX ON orders (customer_id);
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'orders_1_customer_id_idx'::regclass;
