-- orders: its name ends as those that REINDEX leaves, but it is valid
CREATE TABLE orders (id bigint PRIMARY KEY, customer_id bigint);
CREATE INDEX by_customer_ccnew ON orders (customer_id);
