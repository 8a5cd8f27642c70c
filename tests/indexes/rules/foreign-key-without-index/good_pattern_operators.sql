-- orders: the operator class for LIKE finds equal values as well
CREATE TABLE customers (id text PRIMARY KEY);
CREATE TABLE orders (id bigint PRIMARY KEY, customer_id text REFERENCES customers);
CREATE INDEX ON orders (customer_id text_pattern_ops);
