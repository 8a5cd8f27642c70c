-- people: both begin with the same expression
CREATE TABLE people (id bigint PRIMARY KEY, email text, at date);
CREATE INDEX ON people (lower(email));
CREATE INDEX ON people (lower(email), at);
