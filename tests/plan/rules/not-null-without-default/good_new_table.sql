-- notes: the release makes it
CREATE TABLE orders (id bigint PRIMARY KEY, total numeric, state text);
-- rows
INSERT INTO orders SELECT n, n, 'new' FROM generate_series(1, 10) AS n;
-- release
CREATE TABLE notes (id bigint); ALTER TABLE notes ADD COLUMN body text NOT NULL;
