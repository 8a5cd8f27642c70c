-- events: too small to matter
CREATE TABLE events (id bigint PRIMARY KEY, at timestamptz NOT NULL);
INSERT INTO events SELECT n, '2026-01-01Z'::timestamptz + n * interval '1 s' FROM generate_series(1, 2000) AS n;
ANALYZE events;
