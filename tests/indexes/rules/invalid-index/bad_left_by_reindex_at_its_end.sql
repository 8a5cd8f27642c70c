-- orders: REINDEX CONCURRENTLY was cut while it dropped the old one
CREATE TABLE orders (id bigint PRIMARY KEY, customer_id bigint);
CREATE INDEX by_customer ON orders (customer_id);
CREATE INDEX by_customer_ccold ON orders (customer_id);
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'by_customer_ccold'::regclass;
