-- orders: there is no row
CREATE TABLE orders (id bigint PRIMARY KEY, total numeric, state text);
-- release
ALTER TABLE orders ADD COLUMN note text NOT NULL;
