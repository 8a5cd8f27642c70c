-- orders: text against padded text
CREATE TABLE states (code char(3) PRIMARY KEY);
CREATE TABLE orders (id bigint PRIMARY KEY, state varchar(3) REFERENCES states);
