-- orders: it is reckoned anew when it is wanted
CREATE TABLE orders (id bigint PRIMARY KEY, twice bigint GENERATED ALWAYS AS (id * 2) STORED);
-- rows
INSERT INTO orders SELECT n FROM generate_series(1, 10) AS n;
-- release
ALTER TABLE orders DROP COLUMN twice;
