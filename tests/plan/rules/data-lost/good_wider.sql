-- orders: a type that holds all of it
CREATE TABLE orders (id bigint PRIMARY KEY, total numeric, state text);
-- rows
INSERT INTO orders SELECT n, n, 'new' FROM generate_series(1, 10) AS n;
-- release
ALTER TABLE orders ALTER COLUMN total TYPE text USING total::text, ALTER COLUMN id TYPE numeric, ALTER state TYPE varchar USING CAST(state AS varchar);
