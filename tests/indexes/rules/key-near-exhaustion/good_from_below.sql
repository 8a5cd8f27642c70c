-- orders: most of the numbers below zero are left
CREATE SEQUENCE numbers AS integer MINVALUE -2147483648 START -2147483648;
CREATE TABLE orders (id integer PRIMARY KEY DEFAULT nextval('numbers'));
SELECT setval('numbers', -2000000000);
