-- orders: it does no harm the second time
CREATE TABLE orders (id bigint PRIMARY KEY, total numeric, state text);
-- rows
INSERT INTO orders SELECT n, n, 'new' FROM generate_series(1, 10) AS n;
-- release
ALTER TABLE orders ADD COLUMN IF NOT EXISTS note text; INSERT INTO orders VALUES (1) ON CONFLICT DO NOTHING; CREATE INDEX CONCURRENTLY by_note ON orders (note);
