-- days: the key has no time zone
CREATE TABLE days (id bigint, at date NOT NULL) PARTITION BY RANGE (at);
CREATE TABLE days_1 PARTITION OF days FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
-- release
op.set_partition_policy('days', every='month', ahead=3, timezone='Europe/Berlin'); CREATE TABLE days_2 PARTITION OF days FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
