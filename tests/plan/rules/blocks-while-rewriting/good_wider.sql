-- orders: text takes what varchar had
CREATE TABLE orders (id bigint PRIMARY KEY, total numeric, state varchar(9));
-- rows
INSERT INTO orders SELECT n, n, 'new' FROM generate_series(1, 10) AS n;
-- release
ALTER TABLE orders ALTER COLUMN state TYPE text;
