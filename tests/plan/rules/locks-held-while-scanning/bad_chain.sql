-- orders: customers stay locked meanwhile
CREATE TABLE orders (id bigint PRIMARY KEY, total numeric, state text) WITH (fillfactor = 10);
CREATE TABLE customers (id bigint PRIMARY KEY, name text);
-- rows
INSERT INTO orders SELECT n, n, 'new' FROM generate_series(1, 35000) AS n;
-- release
ALTER TABLE customers ADD COLUMN email text; CREATE INDEX by_state ON orders (state);
