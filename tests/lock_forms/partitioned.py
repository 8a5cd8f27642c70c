"""Statements about a partitioned table, which may reach all of its partitions."""

from lock_forms.form import forms
from lock_forms.layouts import PREPARED, RANGED

_RANGED = forms(
    RANGED,
    {
        "partitioned-add-column": "ALTER TABLE events ADD COLUMN extra integer",
        "partitioned-add-column-stable-default": (
            "ALTER TABLE events ADD COLUMN extra timestamptz DEFAULT now()"
        ),
        "partitioned-add-column-volatile-default": (
            "ALTER TABLE events ADD COLUMN extra uuid DEFAULT gen_random_uuid()"
        ),
        "partitioned-add-column-identity": (
            "ALTER TABLE events ADD COLUMN extra integer GENERATED ALWAYS AS IDENTITY"
        ),
        "partitioned-drop-column": "ALTER TABLE events DROP COLUMN size",
        "partitioned-rename-column": "ALTER TABLE events RENAME COLUMN note TO remark",
        "partitioned-set-default": "ALTER TABLE events ALTER COLUMN size SET DEFAULT 1",
        "partitioned-set-not-null": "ALTER TABLE events ALTER COLUMN size SET NOT NULL",
        "partitioned-drop-not-null": "ALTER TABLE events ALTER COLUMN size DROP NOT NULL",
        "partitioned-type-varchar-longer": "ALTER TABLE events ALTER COLUMN note TYPE varchar(40)",
        "partitioned-type-integer-bigint": "ALTER TABLE events ALTER COLUMN size TYPE bigint",
        "partitioned-set-statistics": "ALTER TABLE events ALTER COLUMN note SET STATISTICS 500",
        "partitioned-add-check": "ALTER TABLE events ADD CHECK (owner_id > 0)",
        "partitioned-add-check-not-valid": "ALTER TABLE events ADD CHECK (owner_id > 0) NOT VALID",
        "partitioned-validate-check": "ALTER TABLE events VALIDATE CONSTRAINT events_size_check",
        "partitioned-drop-check": "ALTER TABLE events DROP CONSTRAINT events_size_check",
        "partitioned-add-not-null-not-valid": "ALTER TABLE events ADD NOT NULL size NOT VALID",
        "partitioned-add-foreign-key": (
            "ALTER TABLE events ADD FOREIGN KEY (owner_id) REFERENCES accounts"
        ),
        "partitioned-add-foreign-key-not-valid": (
            "ALTER TABLE events ADD FOREIGN KEY (owner_id) REFERENCES accounts NOT VALID"
        ),
        "partition-add-column": "ALTER TABLE events_1 ADD COLUMN extra integer",
        "partition-add-check-not-valid": "ALTER TABLE events_1 ADD CHECK (owner_id > 0) NOT VALID",
        "partition-validate-check": "ALTER TABLE events_1 VALIDATE CONSTRAINT events_size_check",
        "partition-set-not-null": "ALTER TABLE events_1 ALTER COLUMN size SET NOT NULL",
        "partition-add-foreign-key-not-valid": (
            "ALTER TABLE events_1 ADD FOREIGN KEY (owner_id) REFERENCES accounts NOT VALID"
        ),
        "partitioned-drop-foreign-key": "ALTER TABLE events DROP CONSTRAINT events_account_fkey",
        "partitioned-add-unique": "ALTER TABLE events ADD UNIQUE (code, at)",
        "partitioned-add-unique-only": "ALTER TABLE ONLY events ADD UNIQUE (code, at)",
        "partitioned-add-unique-without-key": "ALTER TABLE events ADD UNIQUE (code)",
        "partitioned-drop-primary-key": "ALTER TABLE events DROP CONSTRAINT events_pkey",
        "partitioned-create-index": "CREATE INDEX ON events (size)",
        "partitioned-create-index-only": "CREATE INDEX ON ONLY events (size)",
        "partitioned-create-index-concurrently": "CREATE INDEX CONCURRENTLY ON events (size)",
        "partition-create-index": "CREATE INDEX ON events_1 (size)",
        "partition-create-index-concurrently": "CREATE INDEX CONCURRENTLY ON events_1 (size)",
        "partitioned-alter-index-attach": (
            "ALTER INDEX events_code_idx ATTACH PARTITION events_1_code_idx"
        ),
        "partitioned-alter-index-rename": "ALTER INDEX events_note_idx RENAME TO events_remark_idx",
        "partitioned-drop-index": "DROP INDEX events_note_idx",
        "partitioned-drop-index-concurrently": "DROP INDEX CONCURRENTLY events_note_idx",
        "partition-drop-index": "DROP INDEX events_1_code_idx",
        "partition-drop-index-concurrently": "DROP INDEX CONCURRENTLY events_1_code_idx",
        "partition-drop-attached-index": "DROP INDEX events_1_note_idx",
        "partitioned-reindex-index": "REINDEX INDEX events_note_idx",
        "partitioned-reindex-table": "REINDEX TABLE events",
        "partitioned-reindex-table-concurrently": "REINDEX TABLE CONCURRENTLY events",
        "partition-reindex-table-concurrently": "REINDEX TABLE CONCURRENTLY events_1",
        "partitioned-create-trigger-row": (
            "CREATE TRIGGER events_watch BEFORE UPDATE ON events"
            " FOR EACH ROW EXECUTE FUNCTION touch()"
        ),
        "partitioned-create-trigger-statement": (
            "CREATE TRIGGER events_watch AFTER UPDATE ON events"
            " REFERENCING OLD TABLE AS before NEW TABLE AS after"
            " FOR EACH STATEMENT EXECUTE FUNCTION touch()"
        ),
        "partitioned-enable-always-trigger": (
            "ALTER TABLE events ENABLE ALWAYS TRIGGER events_touch"
        ),
        "partitioned-enable-always-trigger-only": (
            "ALTER TABLE ONLY events ENABLE ALWAYS TRIGGER events_tell"
        ),
        "partition-enable-always-trigger": (
            "ALTER TABLE events_1 ENABLE ALWAYS TRIGGER events_touch"
        ),
        "partitioned-drop-trigger": "DROP TRIGGER events_touch ON events",
        "partitioned-drop-trigger-statement": "DROP TRIGGER events_tell ON events",
        "partitioned-create-policy": "CREATE POLICY events_read ON events FOR SELECT USING (true)",
        "partitioned-enable-row-level-security": "ALTER TABLE events ENABLE ROW LEVEL SECURITY",
        "partitioned-rename": "ALTER TABLE events RENAME TO happenings",
        "partitioned-set-schema": "ALTER TABLE events SET SCHEMA elsewhere",
        "partition-rename": "ALTER TABLE events_1 RENAME TO happenings_1",
        "partition-set-schema": "ALTER TABLE events_1 SET SCHEMA elsewhere",
        "partitioned-owner": "ALTER TABLE events OWNER TO pg_monitor",
        "partitioned-set-fillfactor": "ALTER TABLE events SET (fillfactor = 80)",
        "partition-set-autovacuum": "ALTER TABLE events_1 SET (autovacuum_enabled = false)",
        "partitioned-set-logged": "ALTER TABLE events SET LOGGED",
        "partition-replica-identity-full": "ALTER TABLE events_1 REPLICA IDENTITY FULL",
        "partitioned-comment": "COMMENT ON TABLE events IS 'what happened'",
        "partitioned-grant": "GRANT SELECT ON events TO PUBLIC",
        "partitioned-create-statistics": "CREATE STATISTICS ON size, note FROM events",
        "partitioned-truncate": "TRUNCATE events",
        "partitioned-drop-table": "DROP TABLE events",
        "partitioned-vacuum": "VACUUM events",
        "partitioned-vacuum-only": "VACUUM ONLY events",
        "partition-vacuum": "VACUUM events_1",
        "partitioned-vacuum-full": "VACUUM (FULL) events",
        "partitioned-analyze": "ANALYZE events",
        "partitioned-analyze-only": "ANALYZE ONLY events",
        "partition-analyze": "ANALYZE events_1",
        "partitioned-cluster": "CLUSTER events USING events_note_idx",
        "partitioned-lock-table": "LOCK TABLE events IN SHARE MODE",
        "partitioned-lock-table-only": "LOCK TABLE ONLY events IN SHARE MODE",
    },
)

_PREPARED = forms(
    PREPARED,
    {
        "partitioned-add-foreign-key-prepared": (
            "ALTER TABLE trades ADD FOREIGN KEY (market_id) REFERENCES markets"
        ),
        "partitioned-add-unique-prepared": "ALTER TABLE trades ADD UNIQUE (code, at)",
        "partition-validate-foreign-key": (
            "ALTER TABLE trades_1 VALIDATE CONSTRAINT trades_1_seller_fkey"
        ),
        "drop-partition-referencing": "DROP TABLE trades_1",
    },
)

PARTITIONED = (*_RANGED, *_PREPARED)
