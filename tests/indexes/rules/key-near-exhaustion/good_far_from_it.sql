-- orders: half of the numbers are left
CREATE TABLE orders (id serial PRIMARY KEY);
SELECT setval('orders_id_seq', 1073741823);
