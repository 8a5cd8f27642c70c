-- homes: a part of a column
CREATE TYPE address AS (street text, zip text);
CREATE TABLE homes (id bigint PRIMARY KEY, at address);
-- rows
INSERT INTO homes SELECT n, '(a,b)'::address FROM generate_series(1, 10) AS n;
-- release
ALTER TYPE address DROP ATTRIBUTE zip CASCADE;
