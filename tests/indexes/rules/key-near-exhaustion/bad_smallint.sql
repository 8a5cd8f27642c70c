-- states: a smallint ends soon
CREATE TABLE states (id smallserial PRIMARY KEY);
SELECT setval('states_id_seq', 30000);
