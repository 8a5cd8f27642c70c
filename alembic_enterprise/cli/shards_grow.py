"""`shards grow`: splitting shards while they are read and written."""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from alembic_enterprise.cli.options import (
    Target,
    attempts_option,
    lock_timeout_option,
    project_or_url_options,
    table_argument,
)
from alembic_enterprise.cli.output import (
    UNFINISHED,
    about,
    draws_progress,
    progress_bar,
    retried,
    write,
)
from alembic_enterprise.wording import counted, in_bytes, printable

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from alembic_enterprise.shards.growth import Job
    from alembic_enterprise.shards.growth.report import Behind, Done, Report, Split

    Progress = Callable[[int, int], None]
    Waiting = Callable[[Behind], None]

MEGABYTE = 1024 * 1024

INTERRUPTED = (
    "Interrupted: run the same command to go on, or with --abort to remove the copies that it has "
    "left"
)


@click.command("grow")
@table_argument
@project_or_url_options
@click.option(
    "--to",
    "count",
    type=click.IntRange(1),
    metavar="COUNT",
    help="How many shards there shall be: a multiple of the number there is.",
)
@click.option(
    "--abort",
    "is_abort",
    is_flag=True,
    help="Remove the copies that a run has left; what is split stays so.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be split, and change nothing.")
@click.option(
    "--batch",
    type=click.IntRange(1),
    default=3000,
    show_default=True,
    metavar="ROWS",
    help="How many rows to copy in one transaction, about.",
)
@click.option(
    "--sleep",
    "pause",
    type=click.FloatRange(0),
    default=0.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to pause between two batches.",
)
@click.option(
    "--max-lag",
    type=click.IntRange(0),
    metavar="MB",
    help="Wait while a replica is further behind than this many megabytes of WAL.",
)
@lock_timeout_option
@attempts_option
@click.pass_context
def grow_command(
    context: click.Context,
    table: str,
    target: Target,
    count: int | None,
    is_abort: bool,  # a flag of the command line
    dry_run: bool,  # a flag of the command line
    batch: int,
    pause: float,
    max_lag: int | None,
    lock_timeout: int,
    attempts: int,
) -> None:
    """Split shards in a table that is read and written meanwhile.

    One shard at a time is copied into its parts, batch by batch, while a trigger repeats every
    change in them; then they are compared with the shard, and take its place in a transaction that
    locks the table for some milliseconds. The shard is dropped with it. Run it as the owner of the
    table. It needs free space for the copies of one shard, which it names.

    A REPEATABLE READ or SERIALIZABLE transaction whose snapshot is older than the copies, and that
    first reads the table when they have taken the shard's place, does not see their rows.

    The next run of the same command finishes what an ended one began; a second run at the same time
    says who is at work and ends. A table whose shards are partly split works as any other. To drop
    a column meanwhile, or to change its type, which the server refuses, run it with --abort first.

    \b
    Examples:
      alembic-enterprise shards grow orders --to 16 --dry-run
      alembic-enterprise shards grow orders --to 16
      alembic-enterprise shards grow orders --to 16 --sleep 0.05 --max-lag 64
      alembic-enterprise shards grow orders --abort
    \b
    Exit codes:
      0  the table has the shards asked for
      1  an error before anything was tried
      2  something was left undone, or another run is at work: run it again
    """  # noqa: D301  # click wants the character \b
    from alembic_enterprise.locks import Patience  # noqa: PLC0415  # --help stays fast
    from alembic_enterprise.shards.growth import Job  # noqa: PLC0415  # as above

    if (count is None) != is_abort:
        raise click.UsageError("write --to COUNT, or --abort to remove what a run has left")
    if is_abort and dry_run:
        raise click.UsageError("--abort cannot be combined with --dry-run: leave one out")
    with _progress() as (progress, waiting):
        job = Job(
            batch=batch,
            pause=pause,
            max_lag=None if max_lag is None else max_lag * MEGABYTE,
            dry_run=dry_run,
            patience=Patience(lock_timeout, attempts),
            progress=progress,
            waiting=waiting,
        )
        with _telling_how_to_go_on(dry_run=dry_run):
            report = target.worked(lambda engine: _run(engine, table, count, job))
    write(_text(report, dry_run=dry_run, is_abort=is_abort))
    context.exit(report.exit_code)


@contextmanager
def _telling_how_to_go_on(*, dry_run: bool) -> "Generator[None]":
    """Say what to do after Ctrl-C, unless nothing can have been begun."""
    try:
        yield
    except KeyboardInterrupt:
        if dry_run:
            raise
        raise KeyboardInterrupt(INTERRUPTED) from None


def _run(engine: "Engine", table: str, count: int | None, job: "Job") -> "Report":
    from alembic_enterprise.shards import growth  # noqa: PLC0415  # --help stays fast

    if count is None:
        return growth.abort(engine, table, job)
    return growth.grow(engine, table, count, job, _announce)


def _announce(report: "Report") -> None:
    """Say what it will take, before it is done."""
    if report.splits:
        click.echo(_plan(report), err=True)


def _plan(report: "Report") -> str:
    rows = sum(split.rows or 0 for split in report.splits)
    unknown = sum(split.rows is None for split in report.splits)
    size = sum(split.size for split in report.splits)
    most = max(split.size for split in report.splits)
    return (
        f"{printable(str(report.table))}: {counted(len(report.splits), 'shard')} to split, "
        f"{about(rows, unknown, 'shard')}, {in_bytes(size)}; needs {in_bytes(most)} of free space, "
        "one at a time"
    )


@contextmanager
def _progress() -> "Generator[tuple[Progress, Waiting]]":
    """A progress bar with the rate on a terminal; in a pipe or in CI, what is waited for only."""
    if not draws_progress():
        yield lambda _done, _expected: None, _once_a_minute()
        return
    began = time.monotonic()
    options = {"length": 1, "label": "rows", "show_pos": True, "item_show_func": _rate}
    with progress_bar(**options) as drawn:

        def show(done: int, expected: int) -> None:
            bar = drawn()
            bar.label = "rows"
            bar.length = max(expected, 1)
            bar.update(done - bar.pos, done / max(time.monotonic() - began, 0.001))

        def wait(behind: "Behind") -> None:
            bar = drawn()
            bar.label = _waits(behind)
            bar.render_progress()

        yield show, wait


def _once_a_minute() -> "Waiting":
    """A function that says what is waited for, unless it has just done so."""
    next_time = time.monotonic()

    def wait(behind: "Behind") -> None:
        nonlocal next_time
        if time.monotonic() >= next_time:
            next_time = time.monotonic() + 60
            click.echo(_waits(behind), err=True)

    return wait


def _waits(behind: "Behind") -> str:
    return f"waits for replica {printable(behind.replica)}, {in_bytes(behind.lag)} behind"


def _rate(rows: float | None) -> str | None:
    return None if rows is None else f"{rows:,.0f} rows/s"


def _text(report: "Report", *, dry_run: bool, is_abort: bool) -> str:
    name = printable(str(report.table))
    if report.other is not None:
        at_work = f"{name}: another run is at work: {printable(str(report.other))}"
        return "\n".join([at_work, *(f"  {printable(problem)}" for problem in report.problems)])
    if dry_run and report.splits:
        return "\n".join([_plan(report), *map(_split_line, report.splits)])
    mark = click.style(UNFINISHED, fg="red") if report.problems else click.style("done", fg="green")
    work = f"{counted(len(report.removed), 'shard')} put back" if is_abort else _work(report)
    waited = [f"  {retried(report.retries)}"] if report.retries else []
    blockers = [f"  waited for {printable(str(item))}" for item in sorted(report.blockers, key=str)]
    checked = [
        f"  {printable(str(table))}: foreign key {printable(key)} validated"
        for table, key in report.validated
    ]
    problems = [f"  {printable(problem)}" for problem in report.problems]
    lines = [f"{name}: {mark}; {work}", *map(_done_line, report.done)]
    return "\n".join([*lines, *checked, *waited, *blockers, *problems])


def _work(report: "Report") -> str:
    if not report.splits:
        return "nothing to split"
    return f"{len(report.done)} of {counted(len(report.splits), 'shard')} split"


def _split_line(split: "Split") -> str:
    parts = ", ".join(str(part.remainder) for part in split.parts)
    rows = "never analyzed" if split.rows is None else about(split.rows, 0, "shard")
    return (
        f"  {printable(str(split.shard))}: modulus {split.parts[0].modulus}, remainders {parts}; "
        f"{rows}, {in_bytes(split.size)}"
    )


def _done_line(done: "Done") -> str:
    return (
        f"  {printable(str(done.shard))}: {done.rows:,} rows in {done.seconds:.1f} s, "
        f"locked for {done.locked:.1f} ms"
    )
