"""How right the rules are, on labelled cases, beside two public sets of rules.

    python bench/rules.py
    python bench/rules.py --schemalint node_modules/.bin/schemalint
    python bench/rules.py --binaries /usr/lib/postgresql/16/bin

The cases are the SQL files in tests/indexes/rules, a bad or a good one each. Recall is the share of
the bad cases that a rule tells of; precision, the share of bad ones among all that it tells of. The
cases are ours: they say what we hold to be right, and how others differ from that.

Peers take part where they can be had. They are no dependencies; in a folder of their own:

    pip install --no-deps postgres-mcp
    pip install pglast psycopg-pool "mcp<2" instructor attrs humanize
    npm install schemalint

postgres-mcp looks at invalid, duplicate and unused indexes and at sequences: as it names tables
without their schema, each case has a database of its own there. Of unused indexes it is asked for
those never scanned, not for the fifty scans that it allows otherwise. schemalint looks at foreign
keys without an index and at primary keys. Exits with 1 when a rule of ours is wrong.
"""

import argparse
import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg.sql import SQL, Identifier
from sqlalchemy import NullPool, create_engine, make_url

from bench._shared import exit_with

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import labelled  # of the tests
from labelled import Case

from alembic_enterprise.indexes import catalog
from alembic_enterprise.indexes.rules import RULES
from alembic_enterprise.server import Server, temporary_server

Told = dict[str, bool]
"""Whether a set of rules told of a case, by the case; of the rules that it has."""


def main() -> int:
    """Ask everybody and print; 0 when all of ours is right."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--binaries", type=Path, help="of another server than the embedded one")
    parser.add_argument("--schemalint", type=Path, help="the program, where it is installed")
    arguments = parser.parse_args()
    cases = labelled.read()
    with temporary_server(arguments.binaries) as server:
        labelled.load(server.url(), cases)
        found = {"ours": ours(server.url(), cases)}
        if arguments.schemalint is not None:
            found["schemalint"] = schemalint(arguments.schemalint.resolve(), server, cases)
        if (checks := postgres_mcp()) is not None:
            found["postgres-mcp"] = each_by_itself(server, checks, cases)
    print_table(cases, found)
    return 0 if all(right(case, found["ours"]) for case in cases) else 1


def right(case: Case, told: Told) -> bool:
    """Whether a case was judged as it is labelled."""
    return told[str(case)] is case.bad


# Who is asked


def ours(url: str, cases: Sequence[Case]) -> Told:
    """All rules of alembic-enterprise; remarks on other tables of a case count as wrong."""
    with create_engine(url, poolclass=NullPool).connect() as connection:
        known = catalog.read(connection)
    told: Told = {}
    for case in cases:
        tables = {item.table for item in labelled.found(case, known)}
        told[str(case)] = tables == case.expected if case.bad else bool(tables)
    return told


_SCHEMALINT = {
    "foreign-key-without-index": "index-referencing-column",
    "missing-primary-key": "require-primary-key",
}


def schemalint(program: Path, server: Server, cases: Sequence[Case]) -> Told:
    """One run over the schemas of the cases that it has rules for."""
    asked = [case for case in cases if case.rule in _SCHEMALINT]
    connection = {"host": str(server.socket_folder), "user": "postgres", "database": "postgres"}
    told: Told = {}
    for rule, name in _SCHEMALINT.items():
        schemas = [{"name": case.schema} for case in asked if case.rule == rule]
        settings = {"connection": connection, "schemas": schemas, "rules": {name: ["error"]}}
        config = server.folder / "schemalintrc.js"
        config.write_text(f"module.exports = {json.dumps(settings)}")
        done = subprocess.run(
            [program, "--config", config.name],
            cwd=server.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        text = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)
        if name not in text:
            raise SystemExit(f"schemalint said nothing of {name}:\n{text}")
        told |= {
            str(case): f"{case.schema}.{case.table}" in text for case in asked if case.rule == rule
        }
    return told


class Driver:
    """What postgres-mcp runs its queries by."""

    def __init__(self, session: psycopg.Connection) -> None:
        self.session = session

    async def execute_query(self, query: str, *_: Any, **__: Any) -> list[Any]:
        """The rows as it wants them."""
        rows = self.session.cursor(row_factory=dict_row).execute(query.encode())
        return [SimpleNamespace(cells=row) for row in rows]


Check = Callable[[Driver], Any]


def postgres_mcp() -> Mapping[str, Check] | None:
    """Its checks by our rules; None when it cannot be imported."""
    try:
        indexes = import_module("postgres_mcp.database_health.index_health_calc").IndexHealthCalc
        sequences = import_module("postgres_mcp.database_health.sequence_health_calc")
    except ImportError:
        return None
    return {
        "invalid-index": lambda driver: indexes(driver).invalid_index_check(),
        "redundant-index": lambda driver: indexes(driver).duplicate_index_check(),
        "unused-index": lambda driver: indexes(driver).unused_indexes(max_scans=0),
        "key-near-exhaustion": lambda driver: sequences.SequenceHealthCalc(
            driver, 0.75
        ).sequence_danger_check(),
    }


def each_by_itself(server: Server, checks: Mapping[str, Check], cases: Sequence[Case]) -> Told:
    """Each case in a database of its own, with its tables in schema public."""
    told: Told = {}
    with psycopg.connect(_plain(server.url()), autocommit=True) as administrator:
        for case in (case for case in cases if case.rule in checks):
            name = Identifier("one_case")
            administrator.execute(SQL("CREATE DATABASE {} TEMPLATE template0").format(name))
            with psycopg.connect(_plain(server.url("one_case")), autocommit=True) as session:
                session.execute(case.path.read_bytes())
            with psycopg.connect(_plain(server.url("one_case")), autocommit=True) as session:
                told[str(case)] = _asked(checks[case.rule], session, case)
            administrator.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(name))
    return told


def _asked(check: Check, session: psycopg.Connection, case: Case) -> bool:
    """Whether it names the table; that it breaks down counts as silence."""
    try:
        text = str(asyncio.run(check(Driver(session))))
    except psycopg.Error:
        return False
    return re.search(rf"(\bon (table ')?|for ){re.escape(case.table)}\b", text) is not None


def _plain(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


# What is printed


def print_table(cases: Sequence[Case], found: Mapping[str, Told]) -> None:
    """A line for each rule: how many cases, and precision and recall of everybody."""
    print(f"{'':36}{'cases':>6}" + "".join(f"{name:>16}" for name in found))
    print(f"{'rule':36}{'':6}" + f"{'prec.  recall':>16}" * len(found))
    for rule in RULES:
        mine = [case for case in cases if case.rule == rule]
        print(f"{rule:36}{len(mine):6}" + "".join(_figures(mine, told) for told in found.values()))
    print(f"{'all together':36}{len(cases):6}{_figures(cases, found['ours'])}")


def _figures(cases: Iterable[Case], told: Told) -> str:
    judged = [(case.bad, told[str(case)]) for case in cases if str(case) in told]
    if not judged:
        return f"{'-':>8}{'-':>8}"
    hits = sum(bad and said for bad, said in judged)
    precision = hits / max(sum(said for _, said in judged), 1)
    return f"{precision:8.0%}{hits / sum(bad for bad, _ in judged):8.0%}"


if __name__ == "__main__":
    exit_with(main)
