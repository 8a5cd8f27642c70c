-- orders: nothing is in it
CREATE TABLE orders (id bigint PRIMARY KEY, total numeric, state text);
-- release
DELETE FROM orders;
