-- orders: by a block that cannot be tried in a transaction
CREATE TABLE orders (id bigint PRIMARY KEY, total integer, state text);
-- rows
INSERT INTO orders SELECT n, n, 'new' FROM generate_series(1, 10) AS n;
-- release
DO $$ BEGIN COMMIT; DROP TABLE data_lost_bad_block_commits.orders; END $$ /* as for CONCURRENTLY */;
