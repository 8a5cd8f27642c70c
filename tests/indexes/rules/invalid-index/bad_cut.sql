-- orders: building it was cut
CREATE TABLE orders (id bigint PRIMARY KEY, customer_id bigint);
CREATE INDEX by_customer ON orders (customer_id DESC NULLS LAST) WHERE id > 0;
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'by_customer'::regclass;
