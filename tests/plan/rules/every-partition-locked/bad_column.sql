-- events: a column in all of them
CREATE TABLE events (id bigint, at timestamptz NOT NULL, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
DO $$ BEGIN FOR n IN 1..30 LOOP EXECUTE format('CREATE TABLE events_%s PARTITION OF events FOR VALUES FROM (%L) TO (%L)', n, date '2020-01-01' + n, date '2020-01-02' + n); END LOOP; END $$;
-- release
ALTER TABLE events ADD COLUMN note text;
