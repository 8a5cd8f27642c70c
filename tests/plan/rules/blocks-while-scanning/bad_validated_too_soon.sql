-- orders: the lock of the first step is still there
CREATE TABLE orders (id bigint PRIMARY KEY, total numeric, state text);
-- rows
INSERT INTO orders SELECT n, n, 'new' FROM generate_series(1, 10) AS n;
-- release
ALTER TABLE orders ADD CONSTRAINT positive CHECK (total > 0) NOT VALID; ALTER TABLE orders VALIDATE CONSTRAINT positive;
