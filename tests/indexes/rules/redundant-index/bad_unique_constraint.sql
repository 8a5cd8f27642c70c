-- orders: two unique constraints on the same column, for a person to decide
CREATE TABLE orders (id bigint PRIMARY KEY, number text, UNIQUE (number));
ALTER TABLE orders ADD CONSTRAINT again UNIQUE (number);
