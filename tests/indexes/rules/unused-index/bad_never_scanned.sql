-- orders: nobody looks for rows by their state
CREATE TABLE orders (id bigint PRIMARY KEY, state text);
INSERT INTO orders SELECT n, 'new' FROM generate_series(1, 2000) AS n;
CREATE INDEX ON orders (state);
ANALYZE orders;
