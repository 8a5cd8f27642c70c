-- pages: a GiST index of words does not find equal ones
CREATE TABLE dictionaries (words tsvector PRIMARY KEY);
CREATE TABLE pages (id bigint PRIMARY KEY, words tsvector REFERENCES dictionaries);
CREATE INDEX ON pages USING gist (words);
