-- orders: the index compares in another collation than the column
CREATE TABLE customers (id text PRIMARY KEY);
CREATE TABLE orders (id bigint PRIMARY KEY, customer_id text REFERENCES customers);
CREATE INDEX ON orders (customer_id COLLATE "C");
