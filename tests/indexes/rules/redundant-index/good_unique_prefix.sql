-- orders: the shorter index keeps its column unique
CREATE TABLE orders (id bigint PRIMARY KEY, number text, at date);
CREATE UNIQUE INDEX ON orders (number);
CREATE INDEX ON orders (number, at);
