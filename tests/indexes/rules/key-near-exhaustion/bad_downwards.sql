-- orders: it counts down
CREATE SEQUENCE numbers AS integer INCREMENT BY -1;
CREATE TABLE orders (id integer PRIMARY KEY DEFAULT nextval('numbers'));
SELECT setval('numbers', -2147483000);
