-- orders: an integer identity at 90 %
CREATE TABLE orders (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY);
SELECT setval('orders_id_seq', 1932735283);
