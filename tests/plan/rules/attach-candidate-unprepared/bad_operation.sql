-- later: op.attach_partition reads it as well
CREATE TABLE events (id bigint, at timestamptz NOT NULL, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM ('2026-01-01Z') TO ('2026-02-01Z');
CREATE TABLE later (id bigint NOT NULL, at timestamptz NOT NULL);
-- rows
INSERT INTO later SELECT n, '2026-02-15Z' FROM generate_series(1, 10) AS n;
-- release
op.attach_partition('events', 'later', start='2026-02-01', stop='2026-03-01');
