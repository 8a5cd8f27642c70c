-- bookings: it keeps bookings apart, scanned or not
CREATE TABLE bookings (id bigint PRIMARY KEY, at int4range, EXCLUDE USING gist (at WITH &&));
INSERT INTO bookings SELECT n, int4range(n, n + 1) FROM generate_series(1, 2000) AS n;
ANALYZE bookings;
DO $$ BEGIN PERFORM pg_stat_reset_single_table_counters('bookings_at_excl'::regclass); END $$;
