-- orders: by a block
CREATE TABLE orders (id bigint PRIMARY KEY, total integer, state text);
-- rows
INSERT INTO orders SELECT n, n, 'new' FROM generate_series(1, 10) AS n;
-- release
DO $$ BEGIN UPDATE every_row_written_bad_block.orders SET state = 'old'; END $$;
