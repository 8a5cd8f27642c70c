-- orders: unique, but null is allowed
CREATE TABLE orders (number text UNIQUE);
