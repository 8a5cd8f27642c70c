"""The table of locks: what statements lock, rewrite and read, measured on servers.

    python bench/locks.py                                    is the table true on the embedded one?
    python bench/locks.py --binaries .../14/bin .../15/bin   is it on these?
    python bench/locks.py add-check vacuum                   only some forms
    python bench/locks.py --write --binaries .../14/bin ...  measure, and rewrite the table

Each server is started for it, with an empty cluster. Every form is run on small tables with rows,
in a transaction that is rolled back; what cannot run in one is run in a copy of the database, with
sessions in its way. Nothing is timed: other work on the machine changes no result. Versions of
which no server is given stay in the table as they are. Exits with 1 when the table differs from
a server.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

from bench._shared import exit_with

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from lock_forms import FORMS, Form  # of the tests
from lock_forms.measurement import measure
from lock_forms.writing import disagreements, text, updated

from alembic_enterprise.errors import ServerError
from alembic_enterprise.plan.locks.table import FILE, Table
from alembic_enterprise.server import temporary_server


def main(words: Sequence[str] | None = None) -> int:
    """Measure and compare, or write; 0 when the table is true."""
    arguments = parse(words)
    table = Table.from_text(arguments.table.read_text())
    forms = [form for form in FORMS if form.name in (arguments.forms or (form.name,))]
    try:
        measured = [measure_on(binaries, forms) for binaries in arguments.binaries]
    except ServerError as error:
        print(error, file=sys.stderr)
        return 2
    wrong = [line for one in measured for line in disagreements(table, one)]
    print("\n".join([*wrong, f"{len(wrong)} of {len(measured) * len(forms)} effects differ"]))
    if not arguments.write:
        return 1 if wrong else 0
    for one in measured:
        table = updated(table, one)
    arguments.table.write_text(text(table))
    return 0


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("forms", nargs="*", metavar="FORM", help="check these only")
    parser.add_argument("--binaries", nargs="+", type=Path, metavar="DIR", default=[None])
    parser.add_argument("--table", type=Path, metavar="FILE", default=FILE)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true", help="compare; without --write, too")
    what.add_argument("--write", action="store_true", help="write what was measured")
    arguments = parser.parse_args(words)
    if unknown := set(arguments.forms) - {form.name for form in FORMS}:
        parser.error(f"no form is called {', '.join(sorted(unknown))}")
    if arguments.write and arguments.forms:
        parser.error("--write measures every form: name none")
    return arguments


def measure_on(binaries: Path | None, forms: Sequence[Form]) -> Table:
    """Measure forms on a server of its own; None: the embedded one."""
    start = perf_counter()
    with temporary_server(binaries) as server:
        table = measure(server.url(), forms)
    [version] = table.servers.values()
    print(f"PostgreSQL {version}: {len(forms)} forms in {perf_counter() - start:.1f} s")
    return table


if __name__ == "__main__":
    exit_with(main)
