-- events: each row of each partition
CREATE TABLE events (id bigint, at timestamptz NOT NULL, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM ('2026-01-01Z') TO ('2026-02-01Z');
CREATE TABLE events_2 PARTITION OF events FOR VALUES FROM ('2026-02-01Z') TO ('2026-03-01Z');
-- rows
INSERT INTO events SELECT n, '2026-01-15Z' FROM generate_series(1, 10) AS n;
-- release
UPDATE events SET id = id + 1;
