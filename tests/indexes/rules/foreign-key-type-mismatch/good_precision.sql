-- prices: only precision and scale differ
CREATE TABLE rates (rate numeric(6, 2) PRIMARY KEY);
CREATE TABLE prices (id bigint PRIMARY KEY, rate numeric(8, 2) REFERENCES rates);
