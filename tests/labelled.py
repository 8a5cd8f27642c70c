"""The labelled cases of `indexes/rules/`: SQL files that say in their first line what is so.

Each file is run in a schema of its own, all in one database, which is then read once. The rule of
the folder has to remark on the table named in the first line when the file is called `bad_...`, and
to be silent when it is called `good_...`. `-- now: 6 days later` says when it is looked at; else it
is 30 days later, when the counters of scans are old enough.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import psycopg
from psycopg.sql import SQL, Composed, Identifier
from sqlalchemy import make_url

from alembic_enterprise.finding import Finding
from alembic_enterprise.indexes.relations import Catalog
from alembic_enterprise.indexes.rules import RULES
from alembic_enterprise.sql import Name

FOLDER = Path(__file__).parent / "indexes" / "rules"


@dataclass(frozen=True)
class Case:
    """One file.

    Attributes:
        rule: the id of the rule that it is for.
        table: the one that its first line is about.
        bad: whether the rule has to remark on that.
        days: how many days later it is looked at.
    """

    path: Path
    rule: str
    table: str
    bad: bool
    days: int

    @property
    def schema(self) -> str:
        """The schema it is run in."""
        return f"{self.rule.replace('-', '_')[:25]}_{self.path.stem[:37]}"

    @property
    def expected(self) -> set[str]:
        """The tables that the rule remarks on."""
        return {str(Name(self.schema, self.table))} if self.bad else set()

    def __str__(self) -> str:
        return f"{self.rule}/{self.path.stem}"


def read() -> list[Case]:
    """All files."""
    return [_case(path) for path in sorted(FOLDER.glob("*/*.sql"))]


def _case(path: Path) -> Case:
    text = path.read_text()
    first = re.match(r"-- (.+?): \S", text)
    assert first is not None, f"{path}: say in the first line which table it is about, and why"
    later = re.search(r"^-- now: (\d+) days? later$", text, re.MULTILINE)
    bad = path.stem.startswith("bad_")
    assert bad or path.stem.startswith("good_"), path
    return Case(path, path.parent.name, first[1], bad, int(later[1]) if later else 30)


def load(url: str, cases: Sequence[Case]) -> None:
    """Run the files in one session, and come back when all it has counted can be read."""
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, autocommit=True) as session:
        pid = session.info.backend_pid
        for case in cases:
            schema = Identifier(case.schema)
            session.execute("RESET ALL")
            session.execute(SQL("CREATE SCHEMA {}").format(schema))
            session.execute(SQL("SET search_path = {}").format(schema))
            session.execute(case.path.read_bytes())
    with psycopg.connect(plain, autocommit=True) as session:
        # A session that ends sends all it has counted, and then is gone.
        _until(session, SQL("SELECT FROM pg_stat_activity WHERE pid = {}").format(pid), [])
        session.execute("CREATE TABLE public.last (n int PRIMARY KEY)")
        session.execute("INSERT INTO public.last VALUES (1)")
    with psycopg.connect(plain, autocommit=True) as session:
        # Up to PostgreSQL 14 a collector notes it in the order in which it came.
        _until(session, SQL("SELECT pg_stat_get_tuples_inserted('public.last'::regclass)"), [(1,)])


def _until(session: psycopg.Connection, query: SQL | Composed, wanted: list[tuple[int]]) -> None:
    while session.execute(query).fetchall() != wanted:
        pass


def found(case: Case, known: Catalog) -> list[Finding]:
    """What the rule of a case says on its tables."""
    later = replace(known, now=known.now + timedelta(days=case.days))
    return [item for item in RULES[case.rule](later) if item.table.startswith(case.schema + ".")]
