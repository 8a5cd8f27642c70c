"""Plans that the tests show: one with everything, one of a database in order, a hostile one."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from alembic_enterprise.finding import Finding
from alembic_enterprise.indexes.operations import DropIndexOnline
from alembic_enterprise.partitions.catalog import Key, Partition, PartitionedTable
from alembic_enterprise.partitions.model import Policy
from alembic_enterprise.partitions.operations import CreateRangePartitions
from alembic_enterprise.partitions.periods import periods
from alembic_enterprise.partitions.status import Status, status
from alembic_enterprise.plan.locks.table import LockMode
from alembic_enterprise.plan.model import (
    Basis,
    Circumstances,
    Database,
    Outcome,
    Plan,
    PlanFinding,
    Proof,
    RelationEffect,
    Reversibility,
    Revision,
    ShadowServer,
    Step,
    Touched,
    Waiver,
)
from alembic_enterprise.plan.schema.objects import Difference
from alembic_enterprise.sql import Name

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)

IN_ORDER = Plan(
    Database("shop", "18.6", ("4f2a91c07b1d",)),
    Circumstances(NOW),
    ShadowServer("embedded PostgreSQL 18.6 (the database has 18.6)"),
)

SCRIPT = "migrations/versions/9b1e_add_state.py"

WAIVER = Waiver(
    "missing-primary-key", "public.events", "rows are only ever read as a whole", date(2027, 1, 31)
)

ORDERS = Touched("public.orders", 12 * 2**30, 120_000_000, 0, 3, 42.4)
EVENTS = Touched("public.events", 800 * 2**20, 9_000_000, 24, 2)


def effect(relation: str, mode: LockMode, table: str | None = None) -> RelationEffect:
    return RelationEffect(relation, table or relation, frozenset([mode]))


STEPS = (
    Step(
        1,
        "ALTER TABLE public.orders ADD COLUMN state text DEFAULT gen_random_uuid()::text NOT NULL",
        1,
        "9b1e44d2a7c3",
        Basis.MEASURED,
        "18.6",
        (
            replace(
                effect("public.orders", LockMode.ACCESS_EXCLUSIVE), rewritten=True, scanned=True
            ),
            effect("public.orders_pkey", LockMode.ACCESS_EXCLUSIVE, "public.orders"),
            effect("public.orders_total", LockMode.ACCESS_EXCLUSIVE, "public.orders"),
        ),
        Reversibility.STRUCTURE_ONLY,
        (ORDERS,),
        lock_timeout=timedelta(seconds=5),
    ),
    Step(
        2,
        "ALTER TABLE public.orders\n  ADD FOREIGN KEY (event_id) REFERENCES public.events (id)",
        1,
        "9b1e44d2a7c3",
        Basis.MEASURED,
        "18.6",
        (
            replace(effect("public.orders", LockMode.ACCESS_EXCLUSIVE), held_since=1),
            effect("public.events", LockMode.SHARE_ROW_EXCLUSIVE),
            effect("public.events_2026_10", LockMode.SHARE_ROW_EXCLUSIVE, "public.events"),
            effect("public.events_2026_11", LockMode.SHARE_ROW_EXCLUSIVE, "public.events"),
        ),
        Reversibility.FULL,
        (ORDERS, EVENTS),
        lock_timeout=timedelta(seconds=5),
        released=("public.orders_pkey", "public.orders_total"),
    ),
    Step(
        3,
        "CREATE INDEX CONCURRENTLY orders_state ON public.orders (state)",
        2,
        None,
        Basis.PREDICTED,
        "18.6",
        (effect("public.orders", LockMode.SHARE_UPDATE_EXCLUSIVE),),
        Reversibility.FULL,
        (ORDERS,),
        "create_index_online('orders_state', 'orders', ['state'])",
        transactional=False,
    ),
    Step(4, "CREATE TABLE public.notes (body text)", 3, None, Basis.MEASURED, "18.6"),
    Step(5, "CALL public.refresh()", 3, tables=(EVENTS,)),
)


def months() -> Status:
    """A table by months, of which two to come are missing."""
    policy = Policy("month", 3)
    key = Key("RANGE", ("at",))
    table = PartitionedTable(Name("public", "events"), key, policy, timed=True)
    held = periods(date(2025, 6, 1), date(2026, 12, 1), "month", ZoneInfo("UTC"))
    partitions = [
        Partition(
            Name("public", f"events_{one.lower:%Y_%m}"), one, str(one), True, False, "table", 1, 1
        )
        for one in held
    ]
    return status(table, partitions, NOW, {})


BODY = "BEGIN\n\tRETURN sum(total)\n\tFROM orders;\nEND"

FULL = Plan(
    Database("shop", "17.6", ("4f2a91c07b1d",)),
    Circumstances(NOW, timedelta(minutes=12), timedelta(seconds=3)),
    ShadowServer(
        "embedded PostgreSQL 18.6 (the database has 17.6)",
        ("the extension postgis is not here: tables that use it are unknown",),
    ),
    drift=(
        Difference(
            "index", "public.orders_note", None, "CREATE INDEX orders_note ON orders (note)"
        ),
        Difference("table", "public.old", "TABLE", None),
        Difference("column", "public.orders.total", "integer", "bigint"),
        Difference("function", "public.total(integer)", BODY, BODY.replace("total", "t.total")),
    ),
    model_changes=(
        "op.add_column('orders', sa.Column('state', sa.Text(), nullable=False))",
        "op.create_foreign_key(None, 'orders', 'events', ['event_id'], ['id'])",
    ),
    enterprise_changes=(
        Finding(
            "partitions-missing",
            "warning",
            "public.events",
            "2 period(s) between 2027-01-01 and 2027-03-01 have no partition",
            {"missing": [["2027-01-01", "2027-03-01"]]},
            (CreateRangePartitions("events", "month", start="2027-01-01", stop="2027-03-01"),),
        ),
    ),
    pending=(Revision("9b1e44d2a7c3", "add the state of an order", SCRIPT),),
    steps=STEPS,
    findings=(
        PlanFinding(
            Finding(
                "rewrites-table",
                "error",
                "public.orders",
                "the default is volatile, so that all rows are written anew: add the column "
                "without it, and set it afterwards",
                {"table_bytes": ORDERS.size},
            ),
            1,
            SCRIPT,
        ),
        PlanFinding(
            Finding(
                "unused-index",
                "note",
                "public.orders",
                "nobody has scanned orders_total in 90 days: drop it",
                operations=(DropIndexOnline("orders_total", "orders"),),
            )
        ),
        PlanFinding(
            Finding("missing-primary-key", "warning", "public.events", "declare a primary key"),
            waiver=WAIVER,
        ),
    ),
    coverage=("step 5 calls a procedure: what that does was not analysed",),
    proof=(
        Proof("after the upgrade autogenerate finds nothing", Outcome.PASSED),
        Proof(
            "the downgrade gives the schema of the start",
            Outcome.FAILED,
            ("column public.orders.total is bigint, and was integer",),
        ),
        Proof("offline SQL is what was executed", Outcome.SKIPPED, ("the downgrade failed",)),
    ),
    partitioned=(months(),),
)

EVIL = (
    "<script>alert(1)</script>"
    "a`b```c"
    "x|y"
    "@everyone"
    "::error::gotcha"
    "%0A::error::percent"
    "line\n```\nfeed\r"
    "\x1b[31mred\x07"
    "\u202eright\u2066"
    "</details></svg></title>"
    "'\"&lt;"
    "[link](javascript:alert)"
    "{0}"
    "- item"
    "](x) ![i](http://x)"
)
SHORT = EVIL[:60]
"""As long as a name can be."""


def hostile() -> Plan:
    """A plan in which each text that comes from outside is hostile."""
    finding = Finding(
        "unused-index", "error", EVIL, EVIL, {EVIL: EVIL}, (DropIndexOnline(SHORT, SHORT),)
    )
    one = Step(1, EVIL, 1, EVIL, Basis.MEASURED, EVIL)
    step = replace(
        one,
        effects=(effect(EVIL, LockMode.ACCESS_EXCLUSIVE),),
        tables=(Touched(EVIL, 1),),
    )
    known = months()
    return Plan(
        Database(EVIL.replace("http://", ""), EVIL, (EVIL,)),
        Circumstances(NOW),
        ShadowServer(EVIL, (EVIL,)),
        (Difference(EVIL, EVIL, EVIL, EVIL),),
        (EVIL,),
        (finding,),
        (Revision(EVIL, EVIL, EVIL),),
        (step,),
        (
            PlanFinding(finding, 1, EVIL),
            PlanFinding(finding, 1, EVIL, Waiver(EVIL, EVIL, EVIL, date(2027, 1, 1), EVIL)),
        ),
        (EVIL,),
        (Proof(EVIL, Outcome.FAILED, (EVIL,)),),
        (replace(known, table=replace(known.table, name=Name(EVIL, EVIL))),),
    )
