-- orders: a unique index could become the primary key at once
CREATE TABLE orders (number text NOT NULL);
CREATE UNIQUE INDEX ON orders (number);
