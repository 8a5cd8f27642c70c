-- orders: the rows of a year lie together
CREATE TABLE orders (id bigint PRIMARY KEY, year int);
INSERT INTO orders SELECT n, 2020 + n / 2000 FROM generate_series(1, 9999) AS n;
INSERT INTO orders VALUES (10000, 2024);
CREATE INDEX ON orders (year);
ANALYZE orders;
