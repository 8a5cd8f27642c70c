-- orders: dropping it was cut
CREATE TABLE orders (id bigint PRIMARY KEY, customer_id bigint);
CREATE INDEX by_customer ON orders (customer_id);
UPDATE pg_index SET indisvalid = false, indisready = false, indislive = false
WHERE indexrelid = 'by_customer'::regclass;
