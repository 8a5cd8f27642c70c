-- orders: the constraint could wait until the end, but the index does not
CREATE TABLE orders (id bigint PRIMARY KEY, number text, UNIQUE (number) DEFERRABLE);
CREATE UNIQUE INDEX ON orders (number);
