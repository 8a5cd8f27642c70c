-- events: updates move rows, as the column they change has an index
CREATE TABLE events (id bigint PRIMARY KEY, at timestamptz NOT NULL, state int)
WITH (autovacuum_enabled = false);
INSERT INTO events SELECT n, '2026-01-01Z'::timestamptz + n * interval '1 s', 0 FROM generate_series(1, 2000) AS n;
ANALYZE events;
CREATE INDEX ON events (state);
UPDATE events SET state = 1;
UPDATE pg_class SET relpages = 100000, reltuples = 1e6 WHERE oid = 'events'::regclass;
