-- orders: unique and never null, and yet not the primary key
CREATE TABLE orders (number text NOT NULL UNIQUE);
