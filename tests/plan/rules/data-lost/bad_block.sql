-- orders: by a block
CREATE TABLE orders (id bigint PRIMARY KEY, total numeric, state text);
-- rows
INSERT INTO orders SELECT n, n, 'new' FROM generate_series(1, 10) AS n;
-- release
DO $$ BEGIN EXECUTE 'DROP TABLE orders'; END $$;
