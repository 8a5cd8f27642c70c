-- orders: with its schema
CREATE TABLE orders (id bigint PRIMARY KEY);
-- rows
INSERT INTO orders SELECT n FROM generate_series(1, 10) AS n;
-- release
DROP SCHEMA data_lost_bad_schema CASCADE;
