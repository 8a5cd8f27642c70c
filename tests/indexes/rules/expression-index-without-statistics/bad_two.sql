-- people: two of them, told once
CREATE TABLE people (id bigint PRIMARY KEY, email text) WITH (autovacuum_enabled = false);
INSERT INTO people SELECT n, 'a' || n FROM generate_series(1, 100) AS n;
ANALYZE people;
CREATE INDEX ON people (lower(email));
CREATE INDEX ON people (upper(email));
