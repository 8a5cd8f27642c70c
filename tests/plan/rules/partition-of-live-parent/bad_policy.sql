-- events: everybody waits, and there is a policy
CREATE TABLE events (id bigint, at timestamptz NOT NULL, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM ('2026-01-01 00:00+01') TO ('2026-02-01 00:00+01');
-- release
op.set_partition_policy('events', every='month', ahead=3, timezone='Europe/Berlin'); CREATE TABLE events_2 PARTITION OF events FOR VALUES FROM ('2026-02-01 00:00+01') TO ('2026-03-01 00:00+01');
