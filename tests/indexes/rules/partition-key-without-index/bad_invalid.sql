-- events: the index lacks its parts
CREATE TABLE events (id bigint, at timestamptz NOT NULL) PARTITION BY RANGE (at);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM ('2026-01-01Z') TO ('2027-01-01Z');
CREATE INDEX ix_events_at ON ONLY events (at);
