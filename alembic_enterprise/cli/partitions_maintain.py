"""`partitions maintain`: the scheduled job."""

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING

import click

from alembic_enterprise.cli.options import (
    Target,
    attempts_option,
    format_option,
    lock_timeout_option,
    min_headroom_option,
    project_or_url_options,
    tables_argument,
)
from alembic_enterprise.cli.output import UNFINISHED, draws_progress, progress_bar, retried, write
from alembic_enterprise.wording import in_days, printable

if TYPE_CHECKING:
    from alembic_enterprise.partitions.report import Report, TableReport

INTERRUPTED = "Interrupted: the next run finishes what this one has begun"


@click.command("maintain")
@tables_argument
@project_or_url_options
@click.option("--dry-run", is_flag=True, help="Print the SQL and change nothing.")
@click.option(
    "--drop-detached",
    is_flag=True,
    help='Also drop what on_expire="detach" has detached, hold= days later (7).',
)
@lock_timeout_option
@attempts_option
@min_headroom_option
@click.option("--no-analyze", is_flag=True, help="Leave the statistics of changed tables alone.")
@click.option(
    "--metrics-file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write figures for Prometheus' textfile collector.",
)
@format_option
@click.pass_context
def maintain_command(
    context: click.Context,
    tables: tuple[str, ...],
    target: Target,
    dry_run: bool,  # a flag of the command line
    drop_detached: bool,  # a flag of the command line
    lock_timeout: int,
    attempts: int,
    min_headroom: int | None,
    no_analyze: bool,  # a flag of the command line
    metrics_file: Path | None,
    form: str,
) -> None:
    """Create what is due, retire what expired.

    Run it every day, as the owner of the tables. It needs no models: the policies stand in the
    database. Each step is one short transaction that gives up when it gets no lock, and is tried
    again; expired partitions are detached concurrently where the server can. The next run finishes
    what a killed one began; a second run at the same time says who is at work and ends.

    \b
    Examples:
      alembic-enterprise partitions maintain
      alembic-enterprise partitions maintain --dry-run
      alembic-enterprise partitions maintain --url postgresql://app@db/shop
    \b
    Exit codes:
      0  every policy is satisfied, or another run is at work
      1  an error before anything was tried
      2  some table was left undone
      3  partitions end sooner than --min-headroom
    """  # noqa: D301  # click wants the character \b
    from alembic_enterprise.locks import Patience  # noqa: PLC0415  # --help stays fast
    from alembic_enterprise.partitions.maintain import Job, maintain  # noqa: PLC0415  # as above

    if metrics_file is not None:
        _require_writable(metrics_file)
    with _progress() as progress:
        job = Job(
            only=frozenset(tables),
            dry_run=dry_run,
            drop_detached=drop_detached,
            analyze=not no_analyze,
            patience=Patience(lock_timeout, attempts),
            progress=progress,
        )
        try:
            report = target.worked(lambda engine: maintain(engine, job))
        except KeyboardInterrupt:
            raise KeyboardInterrupt("" if dry_run else INTERRUPTED) from None
    if metrics_file is not None and report.other is None and not dry_run:
        _write_metrics(metrics_file, report)
    write(_json(report, min_headroom) if form == "json" else _text(report, min_headroom))
    context.exit(report.exit_code(min_headroom))


@contextmanager
def _progress() -> Generator[Callable[[int, int], None]]:
    """A progress bar on a terminal, and nothing in a pipe or in CI."""
    if not draws_progress():
        yield lambda _done, _expected: None
        return
    with progress_bar(length=1, label="steps") as drawn:

        def show(done: int, expected: int) -> None:
            bar = drawn()
            bar.length = expected
            bar.update(done - bar.pos)

        yield show


def _require_writable(file: Path) -> None:
    """Find out before the run, not after it."""
    if not os.access(file.parent, os.W_OK):
        raise click.UsageError(f"--metrics-file: no file can be made in {file.parent}")


def _write_metrics(file: Path, report: "Report") -> None:
    """Replace the file at once, so that its collector never reads half of it."""
    from alembic_enterprise.partitions.report import last_success, metrics  # noqa: PLC0415  # as above

    before = last_success(file.read_text(encoding="utf-8")) if file.exists() else None
    text = metrics(report, before if report.undone else time.time())
    with NamedTemporaryFile("w", encoding="utf-8", dir=file.parent, delete=False) as new:
        new.write(text)
    path = Path(new.name)
    path.chmod(0o644)  # the collector is another user
    path.replace(file)


def _json(report: "Report", min_headroom: int | None) -> str:
    from alembic_enterprise.partitions.report import document  # noqa: PLC0415  # as above

    return json.dumps(document(report, min_headroom), indent=2)


def _text(report: "Report", min_headroom: int | None) -> str:
    if report.other is not None:
        return f"Another run is at work: {printable(str(report.other))}"
    if not report.tables and not report.problems:
        return "No table has a policy: declare RangePartitions and run `alembic upgrade head`."
    notes = [f"note: {printable(text)}" for text in report.notes]
    if report.statements is not None:
        found = [
            *notes,
            *report.problems,
            *(text for item in report.tables for text in item.problems),
        ]
        problems = [f"-- {printable(text)}" for text in found]
        return "\n\n".join([*problems, *report.statements]) or "-- Nothing is due."
    mark = click.style(UNFINISHED, fg="red")
    unusable = [f"{mark}: {printable(text)}" for text in report.problems]
    lines = [
        line
        for table in report.tables
        for line in _table_lines(table, report.shortage(table, min_headroom))
    ]
    return "\n".join([*unusable, *lines, *notes])


def _table_lines(table: "TableReport", shortage: str | None) -> list[str]:
    counts = Counter(kind for kind, _ in table.done)
    done = ", ".join(f"{count} {DONE[kind]}" for kind, count in counts.items() if kind in DONE)
    days = "no end" if table.headroom is None else in_days(table.headroom)
    mark = click.style(UNFINISHED, fg="red") if table.problems else click.style("ok", fg="green")
    nothing = "nothing was done" if table.problems else "nothing was due"
    head = f"{printable(str(table.name))}: {mark}; {done or nothing}; headroom {days}"
    retries = [f"  {retried(table.retries)}"] if table.retries else []
    blockers = [f"  waited for {printable(str(item))}" for item in sorted(table.blockers, key=str)]
    problems = [f"  {printable(text)}" for text in table.problems]
    short = [f"  {shortage}"] if shortage else []
    notes = [f"  note: {printable(text)}" for text in table.notes]
    return [head, *notes, *retries, *blockers, *problems, *short]


DONE = {
    "finalize": "finalized",
    "create": "created",
    "detach": "detached",
    "archive": "archived",
    "drop": "dropped",
}
"""How the steps that matter to a person are told."""
