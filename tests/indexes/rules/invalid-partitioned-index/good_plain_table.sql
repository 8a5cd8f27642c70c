-- orders: the invalid index is one of a plain table
CREATE TABLE orders (id bigint PRIMARY KEY, customer_id bigint);
CREATE INDEX by_customer ON orders (customer_id);
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'by_customer'::regclass;
