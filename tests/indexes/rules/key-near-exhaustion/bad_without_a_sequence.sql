-- orders: the application counts
CREATE TABLE orders (id integer PRIMARY KEY);
INSERT INTO orders SELECT 2100000000 + n FROM generate_series(1, 2000) AS n;
ANALYZE orders;
