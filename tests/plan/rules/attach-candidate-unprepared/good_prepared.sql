-- later: both are there
CREATE TABLE events (id bigint, at timestamptz NOT NULL, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM ('2026-01-01Z') TO ('2026-02-01Z');
CREATE TABLE later (id bigint NOT NULL, at timestamptz NOT NULL);
ALTER TABLE later ADD PRIMARY KEY (id, at);
ALTER TABLE later ADD CONSTRAINT fits CHECK (at IS NOT NULL AND at >= '2026-02-01Z' AND at < '2026-03-01Z');
-- rows
INSERT INTO later SELECT n, '2026-02-15Z' FROM generate_series(1, 10) AS n;
-- release
ALTER TABLE events ATTACH PARTITION later FOR VALUES FROM ('2026-02-01Z') TO ('2026-03-01Z');
