-- people: the table refers to itself
CREATE TABLE people (id bigint PRIMARY KEY, manager_id bigint REFERENCES people);
