-- orders_old: an heir has no primary key of its own
CREATE TABLE orders (id bigint PRIMARY KEY);
CREATE TABLE orders_old () INHERITS (orders);
