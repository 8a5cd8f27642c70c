"""Statements about the constraints of a table."""

from lock_forms.form import forms
from lock_forms.layouts import KEYLESS, PLAIN

CONSTRAINTS = (
    *forms(
        PLAIN,
        {
            "add-check": "ALTER TABLE orders ADD CHECK (seller_id > 0)",
            "add-check-not-valid": "ALTER TABLE orders ADD CHECK (seller_id > 0) NOT VALID",
            "add-check-no-inherit": "ALTER TABLE orders ADD CHECK (seller_id > 0) NO INHERIT",
            "add-check-not-enforced": "ALTER TABLE orders ADD CHECK (seller_id > 0) NOT ENFORCED",
            "validate-check": "ALTER TABLE orders VALIDATE CONSTRAINT orders_size_check",
            "validate-check-valid": "ALTER TABLE orders VALIDATE CONSTRAINT orders_paid_check",
            "drop-check": "ALTER TABLE orders DROP CONSTRAINT orders_paid_check",
            "add-not-null": "ALTER TABLE orders ADD CONSTRAINT orders_size_given NOT NULL size",
            "add-not-null-not-valid": (
                "ALTER TABLE orders ADD CONSTRAINT orders_size_given NOT NULL size NOT VALID"
            ),
            "validate-not-null": "ALTER TABLE orders VALIDATE CONSTRAINT orders_seller_given",
            "add-foreign-key": (
                "ALTER TABLE orders ADD FOREIGN KEY (seller_id) REFERENCES customers"
            ),
            "add-foreign-key-not-valid": (
                "ALTER TABLE orders ADD FOREIGN KEY (seller_id) REFERENCES customers NOT VALID"
            ),
            "add-foreign-key-not-enforced": (
                "ALTER TABLE orders ADD FOREIGN KEY (seller_id) REFERENCES customers NOT ENFORCED"
            ),
            "validate-foreign-key": "ALTER TABLE orders VALIDATE CONSTRAINT orders_seller_fkey",
            "alter-foreign-key-deferrable": (
                "ALTER TABLE orders ALTER CONSTRAINT orders_customer_id_fkey DEFERRABLE"
            ),
            "drop-foreign-key": "ALTER TABLE orders DROP CONSTRAINT orders_customer_id_fkey",
            "add-unique": "ALTER TABLE orders ADD UNIQUE (size)",
            "add-unique-using-index": (
                "ALTER TABLE orders ADD CONSTRAINT orders_code_key"
                " UNIQUE USING INDEX orders_code_idx"
            ),
            "drop-primary-key": "ALTER TABLE orders DROP CONSTRAINT orders_pkey",
            "drop-primary-key-cascade": "ALTER TABLE orders DROP CONSTRAINT orders_pkey CASCADE",
            "rename-constraint": "ALTER TABLE orders RENAME CONSTRAINT orders_pkey TO orders_key",
        },
    ),
    *forms(
        KEYLESS,
        {
            "add-primary-key": "ALTER TABLE notes ADD PRIMARY KEY (id)",
            "add-primary-key-nullable": "ALTER TABLE notes ADD PRIMARY KEY (number)",
            "add-primary-key-using-index": (
                "ALTER TABLE notes ADD CONSTRAINT notes_pkey PRIMARY KEY USING INDEX notes_idx"
            ),
            "add-exclusion": "ALTER TABLE notes ADD EXCLUDE USING gist (during WITH &&)",
            "add-unique-deferrable": "ALTER TABLE notes ADD UNIQUE (number) DEFERRABLE",
        },
    ),
)
