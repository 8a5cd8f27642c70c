-- orders: a unique index on the columns of the primary key
CREATE TABLE orders (id bigint PRIMARY KEY);
CREATE UNIQUE INDEX ON orders (id);
