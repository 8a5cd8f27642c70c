-- alembic_enterprise_policy: what alembic-enterprise keeps for itself
CREATE TABLE alembic_enterprise_policy (relation regclass, policy jsonb);
CREATE TABLE orders_h0_copy (id bigint);
COMMENT ON TABLE orders_h0_copy IS 'alembic-enterprise: copy of shard 4711 for modulus 8, remainder 0';
