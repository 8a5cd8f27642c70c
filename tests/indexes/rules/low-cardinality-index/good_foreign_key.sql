-- orders: rows that refer to a state are found by it
CREATE TABLE states (id int PRIMARY KEY);
INSERT INTO states SELECT generate_series(0, 4);
CREATE TABLE orders (id bigint PRIMARY KEY, state int);
INSERT INTO orders SELECT n, abs(hashint8(n)) % 5 FROM generate_series(1, 10000) AS n;
ALTER TABLE orders ADD FOREIGN KEY (state) REFERENCES states;
CREATE INDEX ON orders (state);
ANALYZE orders;
