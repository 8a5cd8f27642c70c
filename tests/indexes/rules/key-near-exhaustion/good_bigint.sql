-- orders: more than an integer could hold
CREATE TABLE orders (id bigserial PRIMARY KEY);
SELECT setval('orders_id_seq', 4000000000);
