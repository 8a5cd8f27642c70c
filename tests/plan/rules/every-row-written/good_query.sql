-- orders: it is read, and another one is written
CREATE TABLE orders (id bigint PRIMARY KEY, total integer, state text);
-- rows
INSERT INTO orders SELECT n, n, 'new' FROM generate_series(1, 10) AS n;
-- release
CREATE TABLE notes (id bigint); WITH written AS (DELETE FROM notes RETURNING id) SELECT count(*) FROM orders;
