-- keys: op.grow_hash_shards has copied the rows of its shards
CREATE TABLE keys (id bigint PRIMARY KEY) PARTITION BY HASH (id);
CREATE TABLE keys_0 PARTITION OF keys FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE keys_1 PARTITION OF keys FOR VALUES WITH (MODULUS 2, REMAINDER 1);
-- rows
INSERT INTO keys SELECT n FROM generate_series(1, 10) AS n;
-- release
op.grow_hash_shards('keys', count=4);
