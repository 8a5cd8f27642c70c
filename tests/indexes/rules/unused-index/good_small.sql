-- states: PostgreSQL reads so few rows from end to end
CREATE TABLE states (id int PRIMARY KEY, name text);
INSERT INTO states SELECT n, 'state' FROM generate_series(1, 50) AS n;
CREATE INDEX ON states (name);
ANALYZE states;
