-- orders: no number was handed out so far
CREATE SEQUENCE numbers START 990 MAXVALUE 1000;
CREATE TABLE orders (id integer PRIMARY KEY DEFAULT nextval('numbers'));
