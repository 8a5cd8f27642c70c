-- events_1: a column of a partition that is none any more
CREATE TABLE events (id bigint, at timestamptz NOT NULL, note text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM ('2026-01-01Z') TO ('2026-02-01Z');
-- rows
INSERT INTO events SELECT n, '2026-01-15Z' FROM generate_series(1, 10) AS n;
-- release
ALTER TABLE events DETACH PARTITION events_1;
ALTER TABLE events_1 DROP COLUMN note;
