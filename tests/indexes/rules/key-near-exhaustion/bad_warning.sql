-- orders: a serial at 80 %
CREATE TABLE orders (id serial PRIMARY KEY);
SELECT setval('orders_id_seq', 1717986918);
