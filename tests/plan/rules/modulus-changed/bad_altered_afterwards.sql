-- keys: what comes after it is not what moves the rows
CREATE TABLE keys (id bigint PRIMARY KEY) PARTITION BY HASH (id);
CREATE TABLE keys_0 PARTITION OF keys FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE keys_1 PARTITION OF keys FOR VALUES WITH (MODULUS 2, REMAINDER 1);
-- rows
INSERT INTO keys SELECT * FROM generate_series(1, 10);
-- release
ALTER TABLE keys ADD COLUMN state text;
op.grow_hash_shards('keys', count=4);
ALTER TABLE keys ADD COLUMN note text;
