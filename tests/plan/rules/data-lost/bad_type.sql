-- orders: a column, with its type
CREATE TYPE mood AS ENUM ('fine');
CREATE TABLE orders (id bigint PRIMARY KEY, mood mood);
-- rows
INSERT INTO orders SELECT n, 'fine' FROM generate_series(1, 10) AS n;
-- release
DROP TYPE mood CASCADE;
