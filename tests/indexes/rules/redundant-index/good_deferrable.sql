-- orders: the primary key is checked at the end only, the index at once
CREATE TABLE orders (id bigint PRIMARY KEY DEFERRABLE);
CREATE UNIQUE INDEX ON orders (id);
