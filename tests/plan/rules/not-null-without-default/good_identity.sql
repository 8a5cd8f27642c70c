-- orders: the server counts
CREATE TABLE orders (id bigint PRIMARY KEY, total numeric, state text);
-- rows
INSERT INTO orders SELECT n, n, 'new' FROM generate_series(1, 10) AS n;
-- release
ALTER TABLE orders ADD COLUMN number bigint GENERATED ALWAYS AS IDENTITY NOT NULL;
