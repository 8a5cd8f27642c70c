-- people: on an expression, with a condition
-- now: 1 day later
CREATE TABLE people (id bigint PRIMARY KEY, email text, gone date) PARTITION BY HASH (id);
CREATE TABLE people_0 PARTITION OF people FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE people_1 PARTITION OF people FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE INDEX ON people_0 (lower(email) text_pattern_ops) WHERE gone IS NULL;
CREATE INDEX ON people_1 (lower(email) text_pattern_ops) WHERE gone IS NULL;
