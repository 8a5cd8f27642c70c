-- orders: the sequence could go on, the column cannot
CREATE SEQUENCE numbers;
CREATE TABLE orders (id integer PRIMARY KEY DEFAULT nextval('numbers'));
SELECT setval('numbers', 2147483000);
