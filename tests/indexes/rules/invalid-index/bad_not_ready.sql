-- orders: building it was cut before it was written to
CREATE TABLE orders (id bigint PRIMARY KEY, customer_id bigint);
CREATE INDEX by_customer ON orders (customer_id) INCLUDE (id);
UPDATE pg_index SET indisvalid = false, indisready = false WHERE indexrelid = 'by_customer'::regclass;
