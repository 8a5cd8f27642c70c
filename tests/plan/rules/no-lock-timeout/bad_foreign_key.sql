-- orders: a new table locks the one it refers to
CREATE TABLE orders (id bigint PRIMARY KEY, total numeric, state text);
-- rows
INSERT INTO orders SELECT n, n, 'new' FROM generate_series(1, 10) AS n;
-- release
CREATE TABLE lines (order_id bigint REFERENCES orders);
