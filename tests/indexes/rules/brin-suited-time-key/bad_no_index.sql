-- events: 800 MB in the order of time
CREATE TABLE events (id bigint PRIMARY KEY, at timestamptz NOT NULL) WITH (autovacuum_enabled = false);
INSERT INTO events SELECT n, '2026-01-01Z'::timestamptz + n * interval '1 s' FROM generate_series(1, 2000) AS n;
ANALYZE events;
UPDATE pg_class SET relpages = 100000, reltuples = 2e7 WHERE oid = 'events'::regclass;
