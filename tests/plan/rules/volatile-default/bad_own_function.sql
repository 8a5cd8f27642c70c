-- orders: a function of the project, which is volatile unless it says otherwise
CREATE TABLE orders (id bigint PRIMARY KEY, total numeric, state text);
CREATE FUNCTION stamp() RETURNS text LANGUAGE sql AS 'SELECT ''x''::text';
-- rows
INSERT INTO orders SELECT n, n, 'new' FROM generate_series(1, 10) AS n;
-- release
ALTER TABLE orders ADD COLUMN stamp text DEFAULT stamp();
