-- orders: it has one
CREATE TABLE orders (id bigint PRIMARY KEY);
