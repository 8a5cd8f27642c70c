-- people: no row meets the condition
CREATE TABLE people (id bigint PRIMARY KEY, email text);
INSERT INTO people SELECT n, 'a' || n FROM generate_series(1, 100) AS n;
CREATE INDEX ON people (lower(email)) WHERE id > 1000;
ANALYZE people;
