-- orders: a replica tells the rows apart by it
CREATE TABLE orders (id bigint PRIMARY KEY);
CREATE UNIQUE INDEX replicated ON orders (id);
ALTER TABLE orders REPLICA IDENTITY USING INDEX replicated;
