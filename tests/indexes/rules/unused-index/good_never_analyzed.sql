-- orders: nobody knows how many rows there are
CREATE TABLE orders (id bigint PRIMARY KEY, state text) WITH (autovacuum_enabled = false);
CREATE INDEX ON orders (state);
INSERT INTO orders SELECT n, 'new' FROM generate_series(1, 2000) AS n;
