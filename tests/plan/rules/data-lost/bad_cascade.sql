-- lines: they refer to what is truncated
CREATE TABLE orders (id bigint PRIMARY KEY);
CREATE TABLE lines (id bigint PRIMARY KEY, order_id bigint REFERENCES orders);
-- rows
INSERT INTO lines SELECT n FROM generate_series(1, 10) AS n;
-- release
TRUNCATE orders CASCADE;
