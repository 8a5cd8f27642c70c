-- orders: the primary key begins another index
CREATE TABLE orders (id bigint PRIMARY KEY, at date);
CREATE INDEX ON orders (id, at);
