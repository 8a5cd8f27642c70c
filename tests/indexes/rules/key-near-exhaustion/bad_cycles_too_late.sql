-- orders: the sequence starts over after the column has ended
CREATE SEQUENCE numbers AS bigint CYCLE;
CREATE TABLE orders (id integer PRIMARY KEY DEFAULT nextval('numbers'));
SELECT setval('numbers', 2147483000);
