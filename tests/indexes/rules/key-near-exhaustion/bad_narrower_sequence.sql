-- orders: the column was widened, its sequence was not
CREATE TABLE orders (id serial PRIMARY KEY);
ALTER TABLE orders ALTER id TYPE bigint;
SELECT setval('orders_id_seq', 2147483000);
