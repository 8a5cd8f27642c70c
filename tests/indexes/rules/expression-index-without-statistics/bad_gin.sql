-- pages: words of a text
CREATE TABLE pages (id bigint PRIMARY KEY, body text) WITH (autovacuum_enabled = false);
INSERT INTO pages SELECT n, 'some words ' || n FROM generate_series(1, 100) AS n;
ANALYZE pages;
CREATE INDEX ON pages USING gin (to_tsvector('simple', body));
