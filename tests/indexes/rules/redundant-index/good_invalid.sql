-- orders: the longer index is not valid
CREATE TABLE orders (id bigint PRIMARY KEY, customer_id bigint, at date);
CREATE INDEX ON orders (customer_id);
CREATE INDEX longer ON orders (customer_id, at);
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'longer'::regclass;
