-- people: by an expression, which is for a person to judge
CREATE TABLE people (id bigint, email text) PARTITION BY HASH (lower(email));
CREATE TABLE people_0 PARTITION OF people FOR VALUES WITH (MODULUS 1, REMAINDER 0);
