-- orders: varchar is text
CREATE TABLE states (code text PRIMARY KEY);
CREATE TABLE orders (id bigint PRIMARY KEY, state varchar(10) REFERENCES states);
