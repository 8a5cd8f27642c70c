-- keys: op.drop_hash_shards has been told to lose the rows
CREATE TABLE keys (id bigint PRIMARY KEY) PARTITION BY HASH (id);
CREATE TABLE keys_0 PARTITION OF keys FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE keys_1 PARTITION OF keys FOR VALUES WITH (MODULUS 2, REMAINDER 1);
COMMENT ON TABLE keys_0 IS 'alembic-enterprise: partition of keys';
COMMENT ON TABLE keys_1 IS 'alembic-enterprise: partition of keys';
-- rows
INSERT INTO keys SELECT n FROM generate_series(1, 10) AS n;
-- release
op.drop_hash_shards('keys', count=2, drop_rows=True);
