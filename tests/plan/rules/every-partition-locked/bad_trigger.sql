-- events: a trigger on all of them
CREATE TABLE events (id bigint, at timestamptz NOT NULL, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
DO $$ BEGIN FOR n IN 1..21 LOOP EXECUTE format('CREATE TABLE events_%s PARTITION OF events FOR VALUES FROM (%L) TO (%L)', n, date '2020-01-01' + n, date '2020-01-02' + n); END LOOP; END $$;
-- release
CREATE TRIGGER heard AFTER INSERT ON events FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();
