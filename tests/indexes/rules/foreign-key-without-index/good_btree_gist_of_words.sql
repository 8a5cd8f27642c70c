-- bookings: a varchar is compared as a text
CREATE EXTENSION IF NOT EXISTS btree_gist SCHEMA public;
CREATE TABLE rooms (name text PRIMARY KEY);
CREATE TABLE bookings (
    id bigint PRIMARY KEY,
    room varchar(20) REFERENCES rooms,
    hours int4range,
    EXCLUDE USING gist (hours WITH &&, room WITH =),
    EXCLUDE USING gist (room WITH =, hours WITH &&)
);
