-- orders: the same index twice
CREATE TABLE orders (id bigint PRIMARY KEY, customer_id bigint);
CREATE INDEX one ON orders (customer_id DESC);
CREATE INDEX two ON orders (customer_id DESC);
