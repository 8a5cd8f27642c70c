-- events_2026_01: op.drop_range_partitions has been told to lose the rows
CREATE TABLE events (id bigint, at timestamptz NOT NULL, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE events_2026_01 PARTITION OF events FOR VALUES FROM ('2026-01-01Z') TO ('2026-02-01Z');
CREATE TABLE events_2026_02 PARTITION OF events FOR VALUES FROM ('2026-02-01Z') TO ('2026-03-01Z');
COMMENT ON TABLE events_2026_01 IS 'alembic-enterprise: partition of events';
-- rows
INSERT INTO events SELECT n, '2026-01-15Z' FROM generate_series(1, 10) AS n;
-- release
op.drop_range_partitions('events', every='month', start='2026-01-01', stop='2026-02-01', timezone='UTC', drop_rows=True);
