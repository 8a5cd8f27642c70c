"""Statements that make, attach, detach and drop partitions."""

from lock_forms.form import forms
from lock_forms.layouts import (
    DEFAULTED,
    GUARDED,
    HASHED,
    NESTED,
    PENDING,
    RANGED,
    REFERENCED,
)

PARTITIONS = (
    *forms(
        RANGED,
        {
            "create-partition-of": (
                "CREATE TABLE events_9 PARTITION OF events"
                " FOR VALUES FROM ('2024-09-01Z') TO ('2024-10-01Z')"
            ),
            "create-default-partition": "CREATE TABLE events_9 PARTITION OF events DEFAULT",
            "create-table-like-partitioned": (
                "CREATE TABLE events_9 (LIKE events INCLUDING DEFAULTS INCLUDING GENERATED"
                " INCLUDING CONSTRAINTS INCLUDING STORAGE INCLUDING COMMENTS INCLUDING STATISTICS)"
            ),
            "attach-partition": (
                "ALTER TABLE events ATTACH PARTITION events_3"
                " FOR VALUES FROM ('2024-03-01Z') TO ('2024-04-01Z')"
            ),
            "attach-partition-prepared": (
                "ALTER TABLE events ATTACH PARTITION events_4"
                " FOR VALUES FROM ('2024-04-01Z') TO ('2024-05-01Z')"
            ),
            "attach-partition-as-default": "ALTER TABLE events ATTACH PARTITION events_3 DEFAULT",
            "detach-partition": "ALTER TABLE events DETACH PARTITION events_1",
            "detach-partition-concurrently": (
                "ALTER TABLE events DETACH PARTITION events_1 CONCURRENTLY"
            ),
            "drop-partition": "DROP TABLE events_1",
            "truncate-partition": "TRUNCATE events_1",
        },
    ),
    *forms(
        REFERENCED,
        {
            "create-partition-of-referenced": (
                "CREATE TABLE bookings_9 PARTITION OF bookings"
                " FOR VALUES FROM ('2024-09-01') TO ('2024-10-01')"
            ),
            "attach-partition-of-referenced": (
                "ALTER TABLE bookings ATTACH PARTITION bookings_3"
                " FOR VALUES FROM ('2024-03-01') TO ('2024-04-01')"
            ),
            "detach-partition-of-referenced": "ALTER TABLE bookings DETACH PARTITION bookings_1",
            "detach-partition-of-referenced-concurrently": (
                "ALTER TABLE bookings DETACH PARTITION bookings_1 CONCURRENTLY"
            ),
            "drop-partition-of-referenced": "DROP TABLE bookings_1",
            "truncate-partition-of-referenced": "TRUNCATE bookings_1",
            "add-foreign-key-to-partitioned": (
                "ALTER TABLE receipts ADD FOREIGN KEY (booking_id, booked_at) REFERENCES bookings"
            ),
            "add-foreign-key-to-partitioned-not-valid": (
                "ALTER TABLE receipts ADD FOREIGN KEY (booking_id, booked_at)"
                " REFERENCES bookings NOT VALID"
            ),
            "drop-foreign-key-to-partitioned": (
                "ALTER TABLE receipts DROP CONSTRAINT receipts_booking_fkey"
            ),
        },
    ),
    *forms(
        DEFAULTED,
        {
            "create-partition-of-beside-default": (
                "CREATE TABLE visits_9 PARTITION OF visits"
                " FOR VALUES FROM ('2024-09-01') TO ('2024-10-01')"
            ),
            "attach-partition-beside-default": (
                "ALTER TABLE visits ATTACH PARTITION visits_3"
                " FOR VALUES FROM ('2024-03-01') TO ('2024-04-01')"
            ),
            "detach-partition-beside-default": "ALTER TABLE visits DETACH PARTITION visits_1",
            "detach-partition-beside-default-concurrently": (
                "ALTER TABLE visits DETACH PARTITION visits_1 CONCURRENTLY"
            ),
            "detach-default-partition": "ALTER TABLE visits DETACH PARTITION visits_default",
            "drop-partition-beside-default": "DROP TABLE visits_1",
            "drop-default-partition": "DROP TABLE visits_default",
        },
    ),
    *forms(
        GUARDED,
        {
            "create-partition-of-beside-guarded-default": (
                "CREATE TABLE stays_9 PARTITION OF stays"
                " FOR VALUES FROM ('2024-09-01') TO ('2024-10-01')"
            ),
            "attach-partition-beside-guarded-default": (
                "ALTER TABLE stays ATTACH PARTITION stays_1"
                " FOR VALUES FROM ('2024-01-01') TO ('2024-02-01')"
            ),
        },
    ),
    *forms(
        HASHED,
        {
            "create-shard-of": (
                "CREATE TABLE keys_9 PARTITION OF keys FOR VALUES WITH (MODULUS 4, REMAINDER 3)"
            ),
            "attach-shard": (
                "ALTER TABLE keys ATTACH PARTITION keys_3 FOR VALUES WITH (MODULUS 4, REMAINDER 3)"
            ),
            "detach-shard": "ALTER TABLE keys DETACH PARTITION keys_0",
            "detach-shard-concurrently": "ALTER TABLE keys DETACH PARTITION keys_0 CONCURRENTLY",
            "drop-shard": "DROP TABLE keys_0",
        },
    ),
    *forms(
        NESTED,
        {
            "create-partition-of-partition": (
                "CREATE TABLE calls_9 PARTITION OF calls FOR VALUES FROM ('2024-09-01') TO"
                " ('2024-10-01') PARTITION BY HASH (id)"
            ),
            "attach-nested-partition": (
                "ALTER TABLE calls ATTACH PARTITION calls_3"
                " FOR VALUES FROM ('2024-03-01') TO ('2024-04-01')"
            ),
            "detach-nested-partition": "ALTER TABLE calls DETACH PARTITION calls_1",
            "detach-nested-partition-concurrently": (
                "ALTER TABLE calls DETACH PARTITION calls_1 CONCURRENTLY"
            ),
            "detach-subpartition": "ALTER TABLE calls_1 DETACH PARTITION calls_1_0",
            "drop-nested-partition": "DROP TABLE calls_1",
            "drop-subpartition": "DROP TABLE calls_1_0",
            "nested-add-column": "ALTER TABLE calls ADD COLUMN extra integer",
            "nested-create-index": "CREATE INDEX ON calls (note)",
            "nested-create-trigger": (
                "CREATE TRIGGER calls_touch BEFORE UPDATE ON calls"
                " FOR EACH ROW EXECUTE FUNCTION touch()"
            ),
        },
    ),
    *forms(
        PENDING,
        {"detach-partition-finalize": "ALTER TABLE trips DETACH PARTITION trips_1 FINALIZE"},
    ),
)
