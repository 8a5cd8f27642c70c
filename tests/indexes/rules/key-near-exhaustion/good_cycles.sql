-- tickets: it starts over
CREATE SEQUENCE numbers MAXVALUE 1000 CYCLE;
CREATE TABLE tickets (id integer PRIMARY KEY, number integer DEFAULT nextval('numbers'));
SELECT setval('numbers', 990);
