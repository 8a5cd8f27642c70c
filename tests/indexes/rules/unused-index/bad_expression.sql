-- people: a note, as the planner may need what is known of the expression
CREATE TABLE people (id bigint PRIMARY KEY, email text);
INSERT INTO people SELECT n, 'a' || n FROM generate_series(1, 2000) AS n;
CREATE INDEX ON people (lower(email));
ANALYZE people;
