-- events: a date, with rows inserted a bit out of order
CREATE TABLE events (id bigint PRIMARY KEY, "on" date NOT NULL) WITH (autovacuum_enabled = false);
INSERT INTO events SELECT n, '2026-01-01'::date + n / 10 FROM generate_series(1, 5000) AS n;
ANALYZE events;
UPDATE pg_class SET relpages = 100000, reltuples = 2e7 WHERE oid = 'events'::regclass;
