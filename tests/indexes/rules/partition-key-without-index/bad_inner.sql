-- events: the inner key is in no index
CREATE TABLE events (tenant_id int, at timestamptz NOT NULL) PARTITION BY RANGE (at);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM ('2026-01-01Z') TO ('2027-01-01Z')
PARTITION BY HASH (tenant_id);
CREATE TABLE events_1_0 PARTITION OF events_1 FOR VALUES WITH (MODULUS 1, REMAINDER 0);
CREATE INDEX ON events (at);
