-- orders: a primary key is one also when it is checked at the end
CREATE TABLE orders (id bigint PRIMARY KEY DEFERRABLE);
