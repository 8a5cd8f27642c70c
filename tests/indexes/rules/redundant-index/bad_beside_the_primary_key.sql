-- orders: an index on the columns of the primary key
CREATE TABLE orders (id bigint PRIMARY KEY);
CREATE INDEX ON orders (id);
