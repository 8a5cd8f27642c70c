"""Statements about indexes, and those that put a table or its statistics in order."""

from lock_forms.form import forms
from lock_forms.layouts import MATERIALIZED, PLAIN

INDEXES = (
    *forms(
        PLAIN,
        {
            "create-index": "CREATE INDEX ON orders (size)",
            "create-index-unique": "CREATE UNIQUE INDEX ON orders (size)",
            "create-index-expression": "CREATE INDEX ON orders (lower(code))",
            "create-index-partial": "CREATE INDEX ON orders (size) WHERE size > 1",
            "create-index-brin": "CREATE INDEX ON orders USING brin (placed_at)",
            "create-index-concurrently": "CREATE INDEX CONCURRENTLY ON orders (size)",
            "create-index-unique-concurrently": "CREATE UNIQUE INDEX CONCURRENTLY ON orders (size)",
            "drop-index": "DROP INDEX orders_note_idx",
            "drop-index-concurrently": "DROP INDEX CONCURRENTLY orders_note_idx",
            "drop-index-of-constraint": "DROP INDEX orders_pkey",
            "alter-index-rename": "ALTER INDEX orders_note_idx RENAME TO orders_remark_idx",
            "alter-index-set-fillfactor": "ALTER INDEX orders_note_idx SET (fillfactor = 80)",
            "alter-index-set-statistics": (
                "ALTER INDEX orders_half_idx ALTER COLUMN 1 SET STATISTICS 500"
            ),
            "reindex-index": "REINDEX INDEX orders_note_idx",
            "reindex-index-concurrently": "REINDEX INDEX CONCURRENTLY orders_note_idx",
            "reindex-table": "REINDEX TABLE orders",
            "reindex-table-concurrently": "REINDEX TABLE CONCURRENTLY orders",
            "cluster": "CLUSTER orders USING orders_note_idx",
            "vacuum": "VACUUM orders",
            "vacuum-freeze": "VACUUM (FREEZE) orders",
            "vacuum-analyze": "VACUUM (ANALYZE) orders",
            "vacuum-no-truncate": "VACUUM (TRUNCATE false, INDEX_CLEANUP off) orders",
            "vacuum-full": "VACUUM (FULL) orders",
            "analyze": "ANALYZE orders",
            "analyze-column": "ANALYZE orders (size)",
        },
    ),
    *forms(
        MATERIALIZED,
        {
            "create-materialized-view": (
                "CREATE MATERIALIZED VIEW counts AS SELECT count(*) FROM sales"
            ),
            "refresh-materialized-view": "REFRESH MATERIALIZED VIEW totals",
            "refresh-materialized-view-concurrently": (
                "REFRESH MATERIALIZED VIEW CONCURRENTLY totals"
            ),
            "alter-materialized-view-rename": "ALTER MATERIALIZED VIEW totals RENAME TO sums",
            "create-index-on-materialized-view": "CREATE INDEX ON totals (amount)",
            "drop-materialized-view": "DROP MATERIALIZED VIEW totals",
        },
    ),
)
