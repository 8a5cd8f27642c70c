-- bookings: btree_gist compares an integer with another one only, and not with a bigint
CREATE EXTENSION IF NOT EXISTS btree_gist SCHEMA public;
CREATE TABLE rooms (id bigint PRIMARY KEY);
CREATE TABLE bookings (
    id bigint PRIMARY KEY,
    room integer REFERENCES rooms,
    hours int4range,
    EXCLUDE USING gist (room WITH =, hours WITH &&)
);
