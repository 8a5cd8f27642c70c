-- people: the expression is the second key
CREATE TABLE people (id bigint PRIMARY KEY, email text) WITH (autovacuum_enabled = false);
INSERT INTO people SELECT n, 'a' || n FROM generate_series(1, 100) AS n;
ANALYZE people;
CREATE INDEX ON people (id, (email || id));
