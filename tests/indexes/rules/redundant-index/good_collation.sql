-- people: one of them is in another collation
CREATE TABLE people (id bigint PRIMARY KEY, name text);
CREATE INDEX ON people (name);
CREATE INDEX ON people (name COLLATE "C");
