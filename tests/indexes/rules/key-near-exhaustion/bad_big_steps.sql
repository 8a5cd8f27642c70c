-- orders: a bigint that counts by large steps
CREATE SEQUENCE numbers INCREMENT BY 1000000;
CREATE TABLE orders (id bigint PRIMARY KEY DEFAULT nextval('numbers'));
SELECT setval('numbers', 9000000000000000000);
