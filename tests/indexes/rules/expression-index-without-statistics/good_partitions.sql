-- people: each partition is analyzed; the table itself keeps none
CREATE TABLE people (id bigint PRIMARY KEY, email text) PARTITION BY HASH (id);
CREATE TABLE people_0 PARTITION OF people FOR VALUES WITH (MODULUS 1, REMAINDER 0);
INSERT INTO people SELECT n, 'a' || n FROM generate_series(1, 100) AS n;
CREATE INDEX ON people (lower(email));
ANALYZE people;
