-- orders: half of the numbers were below zero
CREATE SEQUENCE numbers AS integer MINVALUE -2147483648 START -2147483648;
CREATE TABLE orders (id integer PRIMARY KEY DEFAULT nextval('numbers'));
SELECT setval('numbers', 1500000000);
