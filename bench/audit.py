"""What an audit trail costs: CPU time of the server's process, beside a double insert by hand.

    python bench/audit.py
    python bench/audit.py --rounds 31
    python bench/audit.py --binaries /usr/lib/postgresql/16/bin

Peers take part where they can be imported. They are no dependencies; this adds nothing else:

    pip install --no-deps postgresql-audit SQLAlchemy-Continuum SQLAlchemy-Utils

Each contender has a database with a table of twelve columns. Those with a history have the very
same one, which `op.create_audit_trail` made, by month and with its index; peers have their own. In
each round all of them insert, update and delete the same rows by the same statements, of 1, 100 and
50,000 rows, in random order, on empty tables. Each has one session, which has prepared all of it.

What counts is the first number of /proc/<pid>/schedstat, the nanoseconds that the process of the
session ran; that it waits for a processor is not in it, but what others do to its caches is. Linux
only. All sessions and this program share one processor: to wake the other side on another one costs
a statement as much as its work, and the kernel chooses anew each time. Figures are medians; a ratio
or a difference is the median of those of the rounds.

The double insert is what one writes who knows table and statement: `WITH changed AS (... RETURNING
*) INSERT INTO history SELECT ... FROM changed`. Actor and context are constants in it, where the
triggers read settings. The row trigger is written for the table as well. postgresql-audit notes no
actor here: it would take one more statement for each transaction. It is left out of the largest
statements: its join of old and new rows, planned for one row, took 36 s for 2,000 in a session that
had updated single ones before. SQLAlchemy-Continuum sees what the ORM flushes, no other statement:
its limit is the same flushes without it, of up to 100 rows. What it does in the client is not
counted. Exits with 1 when a promise is broken.
"""

import argparse
import os
import random
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any

import psycopg
from psycopg.sql import SQL, Composable, Identifier, Literal
from sqlalchemy import NullPool, Table, create_engine, make_url
from sqlalchemy.orm import DeclarativeBase, Session, configure_mappers

from alembic_enterprise import sql
from alembic_enterprise.audit.operations import CreateAuditTrail, DropAuditTrail
from alembic_enterprise.operation import Operation
from alembic_enterprise.server import temporary_server
from bench._shared import exit_with, progress

SIZES = {1: 200, 100: 40, 50_000: 1}
"""Rows of a statement, and how many such statements are measured together."""

FLUSHES = {1: 40, 100: 2}
"""The same for the ORM, which needs milliseconds for each row."""

WARMING = 6
"""Statements of one row before: tables that were emptied are planned for again."""

MOST = 1.1
MOST_ONE_ROW = 20.0  # microseconds

OPTIONS = """-c plan_cache_mode=force_generic_plan -c alembic_enterprise.actor=user:42
-c alembic_enterprise.context={"request_id":"4711"}"""
"""Of all sessions. Else some statements would be planned each time, and others once."""

HISTORY = ("audit.orders_history",)
TRAIL = CreateAuditTrail("orders", "orders_history", baseline=False)

TABLE = SQL("""CREATE TABLE orders (
    id bigint PRIMARY KEY, customer_id bigint NOT NULL, placed_at timestamptz NOT NULL,
    due_on date NOT NULL, state text NOT NULL, amount numeric(12, 2) NOT NULL,
    currency text NOT NULL, quantity integer NOT NULL, express boolean NOT NULL, email text,
    note text, reference uuid NOT NULL)""")
INCOMING = SQL("CREATE TABLE incoming (LIKE orders INCLUDING INDEXES)")
ROWS = SQL("""INSERT INTO incoming
SELECT n, n % 977, '2026-01-01Z'::timestamptz + n * interval '17 seconds', '2026-02-01', 'new',
       n % 1000 / 7.0, 'EUR', n % 9, n % 2 = 0, 'customer' || n || '@example.org', NULL,
       md5(n::text)::uuid
FROM generate_series(1, 50100) AS n""")
PLAIN: dict[str, Composable] = {
    "insert": SQL("INSERT INTO orders SELECT * FROM incoming WHERE id BETWEEN %s AND %s"),
    "update": SQL(
        "UPDATE orders SET state = 'paid', quantity = quantity + 1 WHERE id BETWEEN %s AND %s"
    ),
    "delete": SQL("DELETE FROM orders WHERE id BETWEEN %s AND %s"),
}
INTO_HISTORY = SQL("""INSERT INTO audit.orders_history (
    audit_id, audit_at, audit_action, audit_actor, audit_context, audit_transaction,
    audit_session_user, audit_role, audit_application, id, customer_id, placed_at, due_on, state,
    amount, currency, quantity, express, email, note, reference)""")
DOUBLE = SQL("""WITH changed AS ({statement} RETURNING *)
{into_history}
SELECT nextval('audit.orders_history_id'), now(), {kind}, 'user:42', '{{"request_id":"4711"}}',
       pg_current_xact_id(), session_user, current_user, 'shop', changed.*
FROM changed""")
KEEP = SQL("""{into_history}
VALUES (nextval('audit.orders_history_id'), clock_timestamp(), lower(TG_OP),
        current_setting('alembic_enterprise.actor', true),
        current_setting('alembic_enterprise.context', true)::jsonb, pg_current_xact_id(),
        session_user, current_user, current_setting('application_name'), {row}.*);""")
ROW_FUNCTION = SQL("""CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
IF TG_OP = 'DELETE' THEN {old} ELSE {new} END IF; RETURN NULL; END $$""")
ROW_TRIGGER = SQL(
    "CREATE TRIGGER keep AFTER INSERT OR UPDATE OR DELETE ON orders"
    " FOR EACH ROW EXECUTE FUNCTION keep()"
)


def main() -> int:
    """Measure and print; 0 when every promise is kept."""
    arguments = parse()
    with temporary_server(arguments.binaries) as server:
        url = server.url()
        # Its work would fall on one contender or another.
        execute(url, SQL("ALTER SYSTEM SET autovacuum = off"), SQL("SELECT pg_reload_conf()"))
        contenders = [make(url) for make in (no_audit, by_hand, ours, row_trigger)]
        contenders += peers(url)
        share_processor(contenders)
        for number in range(arguments.rounds):
            progress(f"round {number + 1} of {arguments.rounds}")
            compete(contenders)
    progress("")
    print_result(contenders, arguments.rounds)
    return 0 if print_promises(*contenders[:3]) else 1


def parse() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--binaries", type=Path, help="of another server than the embedded one")
    parser.add_argument("--rounds", type=int, default=15, help="of all contenders")
    return parser.parse_args()


# Who competes


@dataclass
class Contender:
    """One way to keep history, in a database and with a session of its own.

    Attributes:
        session: whose process is measured.
        run: insert, update or delete the rows from one id to another; called with kind and ids.
        kept: where it keeps history.
        sizes: of its statements, as in `SIZES`.
        cpu: microseconds of a statement, by rows of it and kind, one for each round.
    """

    name: str
    url: str
    session: psycopg.Connection
    run: Callable[[str, int, int], object]
    kept: tuple[str, ...] = ()
    sizes: dict[int, int] = field(default_factory=SIZES.copy)
    cpu: dict[tuple[int, str], list[float]] = field(default_factory=lambda: defaultdict(list))

    def beside(self, other: "Contender", size: int, kind: str) -> list[tuple[float, float]]:
        """What a statement took, and what it took another, in each round."""
        return list(zip(self.cpu[size, kind], other.cpu[size, kind], strict=True))


def statements(
    name: str, url: str, by_kind: Mapping[str, Composable], kept: tuple[str, ...] = HISTORY
) -> Contender:
    """Who runs statements."""
    session = connect(url, OPTIONS)
    texts = {kind: sql.text_of(statement).encode() for kind, statement in by_kind.items()}

    def run(kind: str, first: int, last: int) -> None:
        session.execute(texts[kind], [first, last], prepare=True)

    return Contender(name, url, session, run, kept)


def no_audit(server: str) -> Contender:
    return statements("no audit", database(server, "bare"), PLAIN, ())


def by_hand(server: str) -> Contender:
    url = with_history(server, "by_hand")
    double = {
        kind: DOUBLE.format(statement=statement, into_history=INTO_HISTORY, kind=Literal(kind))
        for kind, statement in PLAIN.items()
    }
    return statements("double insert by hand", url, double)


def ours(server: str) -> Contender:
    url = database(server, "ours")
    apply(url, TRAIL)
    return statements("alembic-enterprise", url, PLAIN)


def row_trigger(server: str) -> Contender:
    url = with_history(server, "row_trigger")
    old, new = (KEEP.format(into_history=INTO_HISTORY, row=SQL(row)) for row in ("old", "new"))
    execute(url, ROW_FUNCTION.format(old=old, new=new), ROW_TRIGGER)
    return statements("typed row trigger", url, PLAIN)


# Peers


def peers(server: str) -> list[Contender]:
    """Those that can be imported; of the others it is said why they cannot."""
    found: list[Contender] = []
    for module, make in (("postgresql_audit", activity), ("sqlalchemy_continuum", versions)):
        try:
            found += make(server, import_module(module))
        except ImportError as error:
            print(f"without {module}: {error}; how to install it: {sys.argv[0]} --help")
    return found


def activity(server: str, postgresql_audit: Any) -> list[Contender]:
    """postgresql-audit, as it is by default: triggers for each statement."""

    class Base(DeclarativeBase):
        pass

    url = database(server, "activity")
    manager = postgresql_audit.VersioningManager()
    manager.init(Base)
    Base.metadata.create_all(create_engine(url, poolclass=NullPool))
    manager.remove_listeners()  # SQLAlchemy-Continuum marks its classes by the same attribute
    execute(url, SQL("SELECT audit_table('orders')"))
    found = statements("postgresql-audit", url, PLAIN, ("activity",))
    del found.sizes[50_000]
    return [found]


def versions(server: str, continuum: Any) -> list[Contender]:
    """SQLAlchemy-Continuum, and the same flushes without it."""
    plain = flushes("ORM, no audit", database(server, "flushed"))
    continuum.make_versioned(user_cls=None)
    versioned = flushes("ORM, SQLAlchemy-Continuum", database(server, "versions"), __versioned__={})
    versioned.kept = ("orders_version", "transaction")
    return [plain, versioned]


def flushes(name: str, url: str, **attributes: Any) -> Contender:
    """Who flushes objects of a class with these attributes besides the columns."""

    class Base(DeclarativeBase):
        pass

    options = {"options": OPTIONS}
    connection = create_engine(url, poolclass=NullPool, connect_args=options).connect()
    table = Table("orders", Base.metadata, autoload_with=connection)
    order: Any = type("Order", (Base,), {"__table__": table, **attributes})
    configure_mappers()
    Base.metadata.create_all(connection)
    [values] = connection.exec_driver_sql("SELECT * FROM incoming WHERE id = 1").mappings()
    connection.commit()
    session = Session(connection, expire_on_commit=False)
    live: dict[int, Any] = {}

    def run(kind: str, first: int, last: int) -> None:
        for number in range(first, last + 1):
            if kind == "insert":
                live[number] = order(**{**values, "id": number})
                session.add(live[number])
            elif kind == "update":
                live[number].state, live[number].quantity = "paid", 2
            else:
                session.delete(live.pop(number))
        session.commit()

    driver: Any = connection.connection.driver_connection
    return Contender(name, url, driver, run, sizes=FLUSHES)


# Databases


def database(server: str, name: str) -> str:
    """The URL of a new database with the table, and another one with rows to insert into it."""
    execute(server, SQL("CREATE DATABASE {}").format(Identifier(name)))
    url = make_url(server).set(database=name).render_as_string(hide_password=False)
    execute(url, TABLE, INCOMING, ROWS, SQL("VACUUM ANALYZE"))
    return url


def with_history(server: str, name: str) -> str:
    """The same, with the history that a dropped trail leaves."""
    url = database(server, name)
    apply(url, TRAIL)
    apply(url, DropAuditTrail("orders", "orders_history"))
    return url


def apply(url: str, operation: Operation) -> None:
    """Run an operation in one transaction."""
    with create_engine(url, poolclass=NullPool).begin() as connection:
        for statement in operation.statements():
            sql.execute(connection, statement)


def connect(url: str, options: str = "") -> psycopg.Connection:
    """A session in autocommit."""
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    return psycopg.connect(plain, autocommit=True, options=options)


def execute(url: str, *statements: Composable) -> None:
    """Run statements, each in a transaction of its own."""
    with connect(url) as connection:
        for statement in statements:
            connection.execute(sql.text_of(statement).encode())


# Measuring


def share_processor(contenders: list[Contender]) -> None:
    """Keep this program and their sessions on one processor."""
    processor = max(os.sched_getaffinity(0))
    for pid in (os.getpid(), *(contender.session.info.backend_pid for contender in contenders)):
        os.sched_setaffinity(pid, {processor})


def compete(contenders: list[Contender]) -> None:
    """Measure each of them once with statements of each size."""
    for size in SIZES:
        for contender in random.sample(contenders, len(contenders)):
            if size in contender.sizes:
                measure(contender, size, contender.sizes[size])


def measure(contender: Contender, size: int, count: int) -> None:
    """Insert, update and delete the same rows, from empty tables to empty ones."""
    tables = ("orders", *contender.kept)
    names = SQL(", ").join(Identifier(*name.split(".")) for name in tables)
    execute(contender.url, SQL("TRUNCATE {} CASCADE").format(names))
    for number, kind in product(range(50_001, 50_001 + WARMING), PLAIN):
        contender.run(kind, number, number)
    pid = contender.session.info.backend_pid
    for kind in PLAIN:
        before = processor_time(pid)
        for number in range(count):
            contender.run(kind, number * size + 1, (number + 1) * size)
        contender.cpu[size, kind].append((processor_time(pid) - before) / count / 1000)


def processor_time(pid: int) -> int:
    """Nanoseconds that a process ran, once it waits for its client."""
    while Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "S":
        pass  # what a running process has used since the last tick is not counted yet
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])


# Printing


def print_result(contenders: list[Contender], rounds: int) -> None:
    """Microseconds per row, a line for each contender."""
    print(f"microseconds per row, medians of {rounds} rounds")
    print(f"{'':26}" + "".join(f"{f'{size:,} a statement':>24}" for size in SIZES))
    print(f"{'':26}" + f"{'insert':>10}{'update':>7}{'delete':>7}" * len(SIZES))
    for contender in contenders:
        figures = (
            statistics.median(contender.cpu[size, kind]) / size
            for size, kind in product(contender.sizes, PLAIN)
        )
        cells = (f"{value:{7 if n % 3 else 10}.1f}" for n, value in enumerate(figures))
        print(f"{contender.name:26}" + "".join(cells))


def print_promises(bare: Contender, double: Contender, trail: Contender) -> bool:
    """Print one promise a line; False when one of them is broken."""
    kept: list[bool] = []
    for size, kind in product((100, 50_000), PLAIN):
        ratio = statistics.median(a / b for a, b in trail.beside(double, size, kind))
        kept.append(at_most(f"{kind} of {size:,} rows, x double insert", ratio, MOST))
    for kind in PLAIN:
        added = statistics.median(a - b for a, b in trail.beside(double, 1, kind))
        kept.append(at_most(f"{kind} of one row, us over double insert", added, MOST_ONE_ROW))
    for contender in (double, trail):
        pairs = {kind: contender.beside(bare, 1, kind) for kind in PLAIN}
        figures = (f"{k} {statistics.median(a - b for a, b in v):.0f}" for k, v in pairs.items())
        print(f"{contender.name}, one row, us over no audit: {', '.join(figures)}")
    return all(kept)


def at_most(name: str, value: float, most: float) -> bool:
    """Print a promise; False when it is broken."""
    print(f"{'kept  ' if value <= most else 'BROKEN'} {name}: {value:,.2f}, at most {most:,.2f}")
    return value <= most


if __name__ == "__main__":
    exit_with(main)
