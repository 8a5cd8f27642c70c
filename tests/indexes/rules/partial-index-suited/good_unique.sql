-- people: it keeps the number unique, and statements may name it
CREATE TABLE people (id bigint PRIMARY KEY, badge int UNIQUE);
INSERT INTO people SELECT n, CASE WHEN n % 50 = 0 THEN n END FROM generate_series(1, 10000) AS n;
ANALYZE people;
SET enable_seqscan = off;
SELECT count(*) FROM people WHERE badge = 50;
