-- people: one of them is for LIKE
CREATE TABLE people (id bigint PRIMARY KEY, name text);
CREATE INDEX ON people (name);
CREATE INDEX ON people (name text_pattern_ops);
