-- bookings: with btree_gist the index of an exclusion constraint finds equal numbers
CREATE EXTENSION IF NOT EXISTS btree_gist SCHEMA public;
CREATE TABLE rooms (id bigint PRIMARY KEY);
CREATE TABLE bookings (
    id bigint PRIMARY KEY,
    room bigint REFERENCES rooms,
    hours int4range,
    EXCLUDE USING gist (room WITH =, hours WITH &&)
);
