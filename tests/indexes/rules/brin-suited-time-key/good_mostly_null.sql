-- orders: most rows have no moment
CREATE TABLE orders (id bigint PRIMARY KEY, paid_at timestamptz) WITH (autovacuum_enabled = false);
INSERT INTO orders SELECT n, CASE WHEN n % 5 = 0 THEN '2026-01-01Z'::timestamptz + n * interval '1 s' END
FROM generate_series(1, 2000) AS n;
ANALYZE orders;
UPDATE pg_class SET relpages = 100000, reltuples = 2e7 WHERE oid = 'orders'::regclass;
