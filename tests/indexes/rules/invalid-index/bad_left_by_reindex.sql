-- orders: REINDEX CONCURRENTLY was cut while it built
CREATE TABLE orders (id bigint PRIMARY KEY, customer_id bigint);
CREATE INDEX by_customer ON orders (customer_id);
CREATE INDEX by_customer_ccnew1 ON orders (customer_id);
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'by_customer_ccnew1'::regclass;
