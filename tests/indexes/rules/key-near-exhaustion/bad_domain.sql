-- orders: the type below the domain counts
CREATE DOMAIN small AS integer;
CREATE DOMAIN smaller AS small;
CREATE SEQUENCE numbers;
CREATE TABLE orders (id smaller PRIMARY KEY DEFAULT nextval('numbers'));
SELECT setval('numbers', 2147483000);
