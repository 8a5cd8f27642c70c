-- accounts: all of them
CREATE TABLE keys (id bigint PRIMARY KEY) PARTITION BY HASH (id);
CREATE TABLE keys_0 PARTITION OF keys FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE keys_1 PARTITION OF keys FOR VALUES WITH (MODULUS 2, REMAINDER 1);
-- release
CREATE TABLE accounts (id bigint) PARTITION BY HASH (id); op.create_hash_shards('accounts', count=3);
