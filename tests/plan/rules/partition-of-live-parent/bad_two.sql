-- events: told once, since the lock is there by then
CREATE TABLE events (id bigint, at timestamptz NOT NULL, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM ('2026-01-01Z') TO ('2026-02-01Z');
-- release
CREATE TABLE events_2 PARTITION OF events FOR VALUES FROM ('2026-02-01Z') TO ('2026-03-01Z');
CREATE TABLE events_3 PARTITION OF events FOR VALUES FROM ('2026-03-01Z') TO ('2026-04-01Z');
