-- people: somebody wants no statistics of it
CREATE TABLE people (id bigint PRIMARY KEY, email text);
INSERT INTO people SELECT n, 'a' || n FROM generate_series(1, 100) AS n;
CREATE INDEX by_email ON people (lower(email));
ALTER INDEX by_email ALTER COLUMN 1 SET STATISTICS 0;
ANALYZE people;
