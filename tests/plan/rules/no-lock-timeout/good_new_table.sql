-- notes: nobody knows it yet
CREATE TABLE orders (id bigint PRIMARY KEY, total numeric, state text);
-- rows
INSERT INTO orders SELECT n, n, 'new' FROM generate_series(1, 10) AS n;
-- release
CREATE TABLE notes (id bigint PRIMARY KEY); ALTER TABLE notes ADD COLUMN body text;
