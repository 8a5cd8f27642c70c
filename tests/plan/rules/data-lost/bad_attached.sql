-- orders: a column of its new table
CREATE TABLE orders (id bigint PRIMARY KEY, total integer, state text);
-- rows
INSERT INTO orders SELECT n, n, 'new' FROM generate_series(1, 10) AS n;
-- release
CREATE TABLE every (state text, total integer, id bigint NOT NULL) PARTITION BY RANGE (id);
ALTER TABLE every ATTACH PARTITION orders FOR VALUES FROM (0) TO (100);
ALTER TABLE every DROP COLUMN state;
