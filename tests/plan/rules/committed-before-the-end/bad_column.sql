-- orders: the column would be there the second time
CREATE TABLE orders (id bigint PRIMARY KEY, total numeric, state text);
-- rows
INSERT INTO orders SELECT n, n, 'new' FROM generate_series(1, 10) AS n;
-- release
ALTER TABLE orders ADD COLUMN note text; CREATE INDEX CONCURRENTLY by_note ON orders (note);
