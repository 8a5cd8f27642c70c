-- pages: no btree
CREATE TABLE pages (id bigint PRIMARY KEY, words text[]);
INSERT INTO pages SELECT n, ARRAY['a'] FROM generate_series(1, 2000) AS n;
CREATE INDEX ON pages USING gin (words);
ANALYZE pages;
