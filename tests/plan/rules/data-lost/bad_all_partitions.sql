-- events: one after the other
CREATE TABLE events (id bigint PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (0) TO (100);
CREATE TABLE events_2 PARTITION OF events FOR VALUES FROM (100) TO (200);
-- rows
INSERT INTO events SELECT n FROM generate_series(1, 150) AS n;
-- release
TRUNCATE events;
