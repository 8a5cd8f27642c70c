-- people: analyzed since
CREATE TABLE people (id bigint PRIMARY KEY, email text);
INSERT INTO people SELECT n, 'a' || n FROM generate_series(1, 100) AS n;
CREATE INDEX ON people (lower(email));
ANALYZE people;
