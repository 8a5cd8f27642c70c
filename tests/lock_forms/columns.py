"""Statements about the columns of a table."""

from lock_forms.form import forms
from lock_forms.layouts import PLAIN

COLUMNS = forms(
    PLAIN,
    {
        "alter-table-add-column": "ALTER TABLE orders ADD COLUMN extra integer",
        "alter-table-add-column-constant-default": (
            "ALTER TABLE orders ADD COLUMN extra integer DEFAULT 1"
        ),
        "alter-table-add-column-stable-default": (
            "ALTER TABLE orders ADD COLUMN extra timestamptz DEFAULT now()"
        ),
        "alter-table-add-column-setting-default": (
            "ALTER TABLE orders ADD COLUMN extra text DEFAULT current_setting('TimeZone')"
        ),
        "alter-table-add-column-volatile-default": (
            "ALTER TABLE orders ADD COLUMN extra uuid DEFAULT gen_random_uuid()"
        ),
        "alter-table-add-column-clock-default": (
            "ALTER TABLE orders ADD COLUMN extra timestamptz DEFAULT clock_timestamp()"
        ),
        "alter-table-add-column-not-null": "ALTER TABLE orders ADD COLUMN extra integer NOT NULL",
        "alter-table-add-column-not-null-default": (
            "ALTER TABLE orders ADD COLUMN extra integer NOT NULL DEFAULT 1"
        ),
        "alter-table-add-column-generated-stored": (
            "ALTER TABLE orders ADD COLUMN extra integer GENERATED ALWAYS AS (size * 2) STORED"
        ),
        "alter-table-add-column-generated-virtual": (
            "ALTER TABLE orders ADD COLUMN extra integer GENERATED ALWAYS AS (size * 2) VIRTUAL"
        ),
        "alter-table-add-column-identity": (
            "ALTER TABLE orders ADD COLUMN extra integer GENERATED ALWAYS AS IDENTITY"
        ),
        "alter-table-add-column-serial": "ALTER TABLE orders ADD COLUMN extra serial",
        "alter-table-add-column-enum-default": (
            "ALTER TABLE orders ADD COLUMN extra state DEFAULT 'new'"
        ),
        "alter-table-add-column-domain": "ALTER TABLE orders ADD COLUMN extra amount",
        "alter-table-add-column-check": (
            "ALTER TABLE orders ADD COLUMN extra integer CHECK (extra > 0)"
        ),
        "alter-table-add-column-unique": "ALTER TABLE orders ADD COLUMN extra integer UNIQUE",
        "alter-table-add-column-references": (
            "ALTER TABLE orders ADD COLUMN extra bigint REFERENCES customers"
        ),
        "alter-table-add-column-references-default": (
            "ALTER TABLE orders ADD COLUMN extra bigint DEFAULT 1 REFERENCES customers"
        ),
        "alter-table-add-column-if-not-exists": (
            "ALTER TABLE orders ADD COLUMN IF NOT EXISTS note text"
        ),
        "alter-table-drop-column": "ALTER TABLE orders DROP COLUMN placed_at",
        "alter-table-drop-column-indexed": "ALTER TABLE orders DROP COLUMN note",
        "alter-table-drop-column-foreign-key": "ALTER TABLE orders DROP COLUMN customer_id",
        "alter-table-drop-column-identity": "ALTER TABLE orders DROP COLUMN number CASCADE",
        "alter-table-rename-column": "ALTER TABLE orders RENAME COLUMN note TO remark",
        "alter-table-set-default": "ALTER TABLE orders ALTER COLUMN size SET DEFAULT 1",
        "alter-table-drop-default": "ALTER TABLE orders ALTER COLUMN total DROP DEFAULT",
        "alter-table-set-not-null": "ALTER TABLE orders ALTER COLUMN size SET NOT NULL",
        "alter-table-set-not-null-checked": "ALTER TABLE orders ALTER COLUMN paid_at SET NOT NULL",
        "alter-table-drop-not-null": "ALTER TABLE orders ALTER COLUMN code DROP NOT NULL",
        "alter-table-type-varchar-longer": "ALTER TABLE orders ALTER COLUMN note TYPE varchar(40)",
        "alter-table-type-varchar-shorter": "ALTER TABLE orders ALTER COLUMN note TYPE varchar(10)",
        "alter-table-type-varchar-text": "ALTER TABLE orders ALTER COLUMN note TYPE text",
        "alter-table-type-text-varchar": "ALTER TABLE orders ALTER COLUMN code TYPE varchar(20)",
        "alter-table-type-integer-bigint": "ALTER TABLE orders ALTER COLUMN size TYPE bigint",
        "alter-table-type-numeric-wider": (
            "ALTER TABLE orders DROP COLUMN twice, ALTER COLUMN total TYPE numeric(20, 2)"
        ),
        "alter-table-type-numeric-scale": (
            "ALTER TABLE orders DROP COLUMN twice, ALTER COLUMN total TYPE numeric(20, 4)"
        ),
        "alter-table-type-timestamp-timestamptz": (
            "SET LOCAL timezone = 'Asia/Tokyo';"
            " ALTER TABLE orders ALTER COLUMN placed_at TYPE timestamptz"
        ),
        "alter-table-type-timestamp-timestamptz-in-utc": (
            "SET LOCAL timezone = 'UTC'; ALTER TABLE orders ALTER COLUMN placed_at TYPE timestamptz"
        ),
        "alter-table-type-timestamp-timestamptz-using": (
            "ALTER TABLE orders ALTER COLUMN placed_at TYPE timestamptz"
            " USING placed_at AT TIME ZONE 'Asia/Tokyo'"
        ),
        "alter-table-type-enum-text": (
            "ALTER TABLE orders ALTER COLUMN state DROP DEFAULT, ALTER COLUMN state TYPE text"
        ),
        "alter-table-type-domain-base": "ALTER TABLE orders ALTER COLUMN pieces TYPE integer",
        "alter-table-type-collation": (
            'ALTER TABLE orders ALTER COLUMN note TYPE varchar(20) COLLATE "C"'
        ),
        "alter-table-type-referenced-column": "ALTER TABLE customers ALTER COLUMN id TYPE numeric",
        "alter-table-add-identity": (
            "ALTER TABLE orders ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY"
        ),
        "alter-table-set-generated": "ALTER TABLE orders ALTER COLUMN number SET GENERATED ALWAYS",
        "alter-table-restart-identity": "ALTER TABLE orders ALTER COLUMN number RESTART WITH 100",
        "alter-table-drop-identity": "ALTER TABLE orders ALTER COLUMN number DROP IDENTITY",
        "alter-table-set-expression": (
            "ALTER TABLE orders ALTER COLUMN twice SET EXPRESSION AS (total * 3)"
        ),
        "alter-table-drop-expression": "ALTER TABLE orders ALTER COLUMN twice DROP EXPRESSION",
        "alter-table-set-statistics": "ALTER TABLE orders ALTER COLUMN note SET STATISTICS 500",
        "alter-table-set-n-distinct": "ALTER TABLE orders ALTER COLUMN note SET (n_distinct = -1)",
        "alter-table-set-storage": "ALTER TABLE orders ALTER COLUMN code SET STORAGE EXTERNAL",
        "alter-table-set-compression": "ALTER TABLE orders ALTER COLUMN code SET COMPRESSION pglz",
    },
)
