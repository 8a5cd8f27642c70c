-- numbers: a sequence that applications ask themselves
CREATE SEQUENCE numbers MAXVALUE 1000;
SELECT setval('numbers', 990);
