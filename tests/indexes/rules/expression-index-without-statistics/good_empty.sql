-- people: no rows, so nothing to know
CREATE TABLE people (id bigint PRIMARY KEY, email text);
CREATE INDEX ON people (lower(email));
ANALYZE people;
