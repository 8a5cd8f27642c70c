-- events: another detach was cut
CREATE TABLE events (id bigint, at timestamptz NOT NULL, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM ('2026-01-01Z') TO ('2026-02-01Z');
CREATE TABLE events_2 PARTITION OF events FOR VALUES FROM ('2026-02-01Z') TO ('2026-03-01Z');
-- rows
UPDATE pg_inherits SET inhdetachpending = true WHERE inhrelid = 'events_1'::regclass;
-- release
op.detach_partition('events', 'events_2', concurrently=True);
