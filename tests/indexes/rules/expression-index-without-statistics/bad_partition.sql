-- people_0: a partition, of a table that was analyzed before
CREATE TABLE people (id bigint PRIMARY KEY, email text) PARTITION BY HASH (id);
CREATE TABLE people_0 PARTITION OF people FOR VALUES WITH (MODULUS 1, REMAINDER 0) WITH (autovacuum_enabled = false);
INSERT INTO people SELECT n, 'a' || n FROM generate_series(1, 100) AS n;
ANALYZE people;
CREATE INDEX ON people (lower(email));
