-- orders: somebody has built it again under another name
CREATE TABLE orders (id bigint PRIMARY KEY, customer_id bigint);
CREATE INDEX by_customer ON orders (customer_id);
CREATE INDEX first_try ON orders (customer_id);
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'first_try'::regclass;
