-- orders: some of its rows, by a block
CREATE TABLE orders (id bigint PRIMARY KEY, total numeric, state text);
-- rows
INSERT INTO orders SELECT n, n, 'new' FROM generate_series(1, 10) AS n;
-- release
DO $$ BEGIN FOR i IN 1..0 LOOP DELETE FROM data_lost_bad_block_delete.orders WHERE id = i; END LOOP; END $$;
