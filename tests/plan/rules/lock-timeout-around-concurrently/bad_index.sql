-- orders: it would leave an INVALID index
CREATE TABLE orders (id bigint PRIMARY KEY, total numeric, state text);
-- release
SET lock_timeout = '5s'; CREATE UNIQUE INDEX CONCURRENTLY by_state ON orders (state);
