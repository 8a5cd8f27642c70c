-- events: updates have moved no row
CREATE TABLE events (id bigint PRIMARY KEY, at timestamp NOT NULL, seen boolean)
WITH (autovacuum_enabled = false, fillfactor = 20);
INSERT INTO events SELECT n, '2026-01-01'::timestamp + n * interval '1 s' FROM generate_series(1, 2000) AS n;
UPDATE events SET seen = true WHERE id % 10 = 0;
ANALYZE events;
UPDATE pg_class SET relpages = 100000, reltuples = 2e7 WHERE oid = 'events'::regclass;
