-- orders: hash and btree are not the same
CREATE TABLE orders (id bigint PRIMARY KEY, number text);
CREATE INDEX ON orders USING hash (number);
CREATE INDEX ON orders (number);
