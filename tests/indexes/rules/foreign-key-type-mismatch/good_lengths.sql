-- orders: only the lengths differ
CREATE TABLE states (code varchar(3) PRIMARY KEY);
CREATE TABLE orders (id bigint PRIMARY KEY, state varchar(10) REFERENCES states);
