-- events_1: a month
CREATE TABLE events (id bigint, at timestamptz NOT NULL, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM ('2026-01-01Z') TO ('2026-02-01Z');
-- rows
INSERT INTO events SELECT n, '2026-01-15Z' FROM generate_series(1, 10) AS n;
-- release
DROP TABLE events_1;
