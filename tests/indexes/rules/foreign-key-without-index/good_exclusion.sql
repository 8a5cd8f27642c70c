-- bookings: the index of an exclusion constraint finds equal values, if it is of such a class
CREATE TABLE shifts (hours int4range PRIMARY KEY);
CREATE TABLE bookings (
    id bigint PRIMARY KEY,
    hours int4range REFERENCES shifts,
    place int4range,
    EXCLUDE USING gist (hours WITH =, place WITH &&)
);
