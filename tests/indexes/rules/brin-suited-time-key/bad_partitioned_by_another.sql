-- events: partitioned by something else
CREATE TABLE events (id bigint PRIMARY KEY, at timestamptz NOT NULL) PARTITION BY RANGE (id);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (0) TO (10000) WITH (autovacuum_enabled = false);
INSERT INTO events SELECT n, '2026-01-01Z'::timestamptz + n * interval '1 s' FROM generate_series(1, 2000) AS n;
ANALYZE events;
UPDATE pg_class SET relpages = 100000, reltuples = 2e7 WHERE oid = 'events_1'::regclass;
