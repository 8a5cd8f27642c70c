-- bookings: the exclusion constraint has an index of its own
CREATE TABLE bookings (id bigint PRIMARY KEY, room int, EXCLUDE USING btree (room WITH =));
CREATE INDEX ON bookings (room, id);
