-- events: no partitions
CREATE TABLE events (id bigint, at timestamptz NOT NULL);
