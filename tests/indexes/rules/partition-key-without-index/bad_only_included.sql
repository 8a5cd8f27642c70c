-- events: it is stored in an index, and is no key of it
CREATE TABLE events (id bigint, at timestamptz NOT NULL) PARTITION BY RANGE (at);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM ('2026-01-01Z') TO ('2027-01-01Z');
CREATE INDEX ON events (id) INCLUDE (at);
