-- pages: no btree
-- now: 1 day later
CREATE TABLE pages (id bigint PRIMARY KEY, words text[]) PARTITION BY HASH (id);
CREATE TABLE pages_0 PARTITION OF pages FOR VALUES WITH (MODULUS 1, REMAINDER 0);
CREATE INDEX ON pages_0 USING gin (words) WITH (fastupdate = off);
