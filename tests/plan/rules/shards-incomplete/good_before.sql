-- keys: it lacked one before
CREATE TABLE keys (id bigint PRIMARY KEY) PARTITION BY HASH (id);
CREATE TABLE keys_0 PARTITION OF keys FOR VALUES WITH (MODULUS 2, REMAINDER 0);
-- release
ALTER TABLE keys ADD COLUMN note text;
