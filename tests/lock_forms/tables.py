"""Statements about a table as a whole, and about its columns."""

from lock_forms.form import forms
from lock_forms.layouts import KEYLESS, PLAIN, UNLOGGED

TABLES = (
    *forms(
        PLAIN,
        {
            "create-table": "CREATE TABLE parcels (id bigint PRIMARY KEY)",
            "create-table-foreign-key": "CREATE TABLE parcels (order_id bigint REFERENCES orders)",
            "create-table-like": "CREATE TABLE parcels (LIKE orders INCLUDING ALL)",
            "create-table-as": "CREATE TABLE parcels AS SELECT * FROM orders",
            "create-table-inherits": "CREATE TABLE parcels () INHERITS (orders)",
            "drop-table-referenced": "DROP TABLE orders",
            "drop-table-referenced-cascade": "DROP TABLE orders CASCADE",
            "drop-table-referencing": "DROP TABLE lines",
            "truncate-referenced": "TRUNCATE orders",
            "truncate-referenced-cascade": "TRUNCATE orders CASCADE",
            "truncate-restart-identity": "TRUNCATE orders RESTART IDENTITY CASCADE",
            "alter-table-rename": "ALTER TABLE orders RENAME TO parcels",
            "alter-table-set-schema": "ALTER TABLE orders SET SCHEMA elsewhere",
            "alter-table-owner": "ALTER TABLE orders OWNER TO pg_monitor",
            "alter-table-set-fillfactor": "ALTER TABLE orders SET (fillfactor = 80)",
            "alter-table-set-autovacuum": "ALTER TABLE orders SET (autovacuum_enabled = false)",
            "alter-table-reset-autovacuum": "ALTER TABLE orders RESET (autovacuum_enabled)",
            "alter-table-set-parallel-workers": "ALTER TABLE orders SET (parallel_workers = 2)",
            "alter-table-set-user-catalog-table": (
                "ALTER TABLE orders SET (user_catalog_table = true)"
            ),
            "alter-table-replica-identity-full": "ALTER TABLE orders REPLICA IDENTITY FULL",
            "alter-table-replica-identity-index": (
                "ALTER TABLE orders REPLICA IDENTITY USING INDEX orders_code_idx"
            ),
            "alter-table-cluster-on": "ALTER TABLE orders CLUSTER ON orders_note_idx",
            "alter-table-set-without-cluster": "ALTER TABLE orders SET WITHOUT CLUSTER",
            "alter-table-enable-row-level-security": "ALTER TABLE orders ENABLE ROW LEVEL SECURITY",
            "alter-table-disable-row-level-security": (
                "ALTER TABLE orders DISABLE ROW LEVEL SECURITY"
            ),
            "alter-table-force-row-level-security": "ALTER TABLE orders FORCE ROW LEVEL SECURITY",
            "alter-table-enable-trigger": "ALTER TABLE orders ENABLE TRIGGER orders_touch",
            "alter-table-enable-always-trigger": (
                "ALTER TABLE orders ENABLE ALWAYS TRIGGER orders_touch"
            ),
            "alter-table-disable-trigger": "ALTER TABLE orders DISABLE TRIGGER orders_touch",
            "create-trigger-row": (
                "CREATE TRIGGER orders_watch AFTER UPDATE ON orders"
                " FOR EACH ROW EXECUTE FUNCTION touch()"
            ),
            "create-trigger-statement": (
                "CREATE TRIGGER orders_watch AFTER UPDATE ON orders"
                " REFERENCING OLD TABLE AS before NEW TABLE AS after"
                " FOR EACH STATEMENT EXECUTE FUNCTION touch()"
            ),
            "create-constraint-trigger": (
                "CREATE CONSTRAINT TRIGGER orders_watch AFTER UPDATE ON orders DEFERRABLE"
                " FOR EACH ROW EXECUTE FUNCTION touch()"
            ),
            "create-or-replace-trigger": (
                "CREATE OR REPLACE TRIGGER orders_touch BEFORE UPDATE ON orders"
                " FOR EACH ROW EXECUTE FUNCTION touch()"
            ),
            "alter-trigger-rename": "ALTER TRIGGER orders_touch ON orders RENAME TO orders_watch",
            "drop-trigger": "DROP TRIGGER orders_touch ON orders",
            "create-policy": "CREATE POLICY orders_read ON orders FOR SELECT USING (true)",
            "alter-policy": "ALTER POLICY orders_policy ON orders USING (id > 0)",
            "drop-policy": "DROP POLICY orders_policy ON orders",
            "create-rule": "CREATE RULE orders_rule AS ON DELETE TO orders DO ALSO NOTHING",
            "comment-on-table": "COMMENT ON TABLE orders IS 'what was bought'",
            "comment-on-column": "COMMENT ON COLUMN orders.note IS 'by hand'",
            "comment-on-constraint": "COMMENT ON CONSTRAINT orders_paid_check ON orders IS 'paid'",
            "comment-on-trigger": "COMMENT ON TRIGGER orders_touch ON orders IS 'touched'",
            "comment-on-index": "COMMENT ON INDEX orders_note_idx IS 'for the search'",
            "grant-on-table": "GRANT SELECT ON orders TO PUBLIC",
            "grant-on-column": "GRANT UPDATE (note) ON orders TO PUBLIC",
            "revoke-on-table": "REVOKE ALL ON orders FROM PUBLIC",
            "create-statistics": "CREATE STATISTICS ON code, note FROM orders",
            "alter-statistics-set-target": "ALTER STATISTICS orders_stats SET STATISTICS 1000",
            "drop-statistics": "DROP STATISTICS orders_stats",
            "create-publication": "CREATE PUBLICATION shop FOR TABLE orders",
            "create-view": "CREATE VIEW paid_orders AS SELECT id FROM orders",
            "create-or-replace-view": (
                "CREATE OR REPLACE VIEW open_orders AS SELECT id, number FROM orders WHERE size > 1"
            ),
            "alter-view-set": "ALTER VIEW open_orders SET (security_barrier = true)",
            "alter-view-owner": "ALTER VIEW open_orders OWNER TO pg_monitor",
            "drop-view": "DROP VIEW open_orders",
            "create-sequence": "CREATE SEQUENCE numbers",
            "create-sequence-owned": "CREATE SEQUENCE numbers OWNED BY orders.id",
            "alter-sequence-restart": "ALTER SEQUENCE tickets RESTART WITH 1000",
            "alter-sequence-type": "ALTER SEQUENCE tickets AS bigint",
            "alter-sequence-owned-by": "ALTER SEQUENCE tickets OWNED BY orders.id",
            "drop-sequence": "DROP SEQUENCE tickets",
            "create-type-enum": "CREATE TYPE colour AS ENUM ('red')",
            "alter-type-add-value": "ALTER TYPE state ADD VALUE 'sent'",
            "alter-type-rename-value": "ALTER TYPE state RENAME VALUE 'new' TO 'open'",
            "alter-type-rename": "ALTER TYPE state RENAME TO condition",
            "alter-type-add-attribute": "ALTER TYPE pair ADD ATTRIBUTE c integer CASCADE",
            "alter-domain-add-check": "ALTER DOMAIN amount ADD CHECK (VALUE > 0)",
            "alter-domain-add-check-not-valid": (
                "ALTER DOMAIN amount ADD CHECK (VALUE > 0) NOT VALID"
            ),
            "alter-domain-set-not-null": "ALTER DOMAIN amount SET NOT NULL",
            "create-or-replace-function": (
                "CREATE OR REPLACE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql"
                " AS 'BEGIN RETURN OLD; END'"
            ),
            "alter-function-owner": "ALTER FUNCTION touch() OWNER TO pg_monitor",
            "drop-function-cascade": "DROP FUNCTION touch() CASCADE",
            "lock-table-access-share": "LOCK TABLE orders IN ACCESS SHARE MODE",
            "lock-table-row-share": "LOCK TABLE orders IN ROW SHARE MODE",
            "lock-table-row-exclusive": "LOCK TABLE orders IN ROW EXCLUSIVE MODE",
            "lock-table-share-update-exclusive": "LOCK TABLE orders IN SHARE UPDATE EXCLUSIVE MODE",
            "lock-table-share": "LOCK TABLE orders IN SHARE MODE",
            "lock-table-share-row-exclusive": "LOCK TABLE orders IN SHARE ROW EXCLUSIVE MODE",
            "lock-table-exclusive": "LOCK TABLE orders IN EXCLUSIVE MODE",
            "lock-table-access-exclusive": "LOCK TABLE orders IN ACCESS EXCLUSIVE MODE",
            "lock-view": "LOCK TABLE open_orders IN SHARE MODE",
        },
    ),
    *forms(
        KEYLESS,
        {
            "drop-table": "DROP TABLE notes",
            "truncate": "TRUNCATE notes",
            "alter-table-set-unlogged": "ALTER TABLE notes SET UNLOGGED",
        },
    ),
    *forms(UNLOGGED, {"alter-table-set-logged": "ALTER TABLE drafts SET LOGGED"}),
)
