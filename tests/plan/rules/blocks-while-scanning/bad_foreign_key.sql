-- lines: each row is looked for in the other table
CREATE TABLE orders (id bigint PRIMARY KEY, total numeric, state text);
CREATE TABLE lines (order_id bigint);
-- rows
INSERT INTO orders SELECT n, n, 'new' FROM generate_series(1, 10) AS n;
INSERT INTO lines SELECT id FROM orders;
-- release
ALTER TABLE lines ADD CONSTRAINT of_order FOREIGN KEY(order_id) REFERENCES orders (id) ON DELETE CASCADE;
