-- pages: GIN finds words, not whole values
CREATE TABLE pages (id bigint PRIMARY KEY, words text[]);
INSERT INTO pages SELECT n, ARRAY['a', 'b' || abs(hashint8(n)) % 2] FROM generate_series(1, 10000) AS n;
CREATE INDEX ON pages USING gin (words);
ANALYZE pages;
