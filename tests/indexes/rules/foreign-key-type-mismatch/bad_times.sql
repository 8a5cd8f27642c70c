-- visits: one has a time zone, the other has none
CREATE TABLE days (at timestamptz PRIMARY KEY);
CREATE TABLE visits (id bigint PRIMARY KEY, at timestamp REFERENCES days);
