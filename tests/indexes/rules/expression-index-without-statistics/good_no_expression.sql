-- people: only columns, and a condition
CREATE TABLE people (id bigint PRIMARY KEY, email text) WITH (autovacuum_enabled = false);
INSERT INTO people SELECT n, 'a' || n FROM generate_series(1, 100) AS n;
CREATE INDEX ON people (email) WHERE lower(email) > 'b';
