"""Growth of a sharded table while it is read and written: `alembic-enterprise shards grow`.

One shard at a time is replaced by copies of its parts, which are kept equal to it until they take
its place. A run that was killed at any point is carried on by the next.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

from psycopg.sql import SQL, Composable
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from alembic_enterprise import locks, sql
from alembic_enterprise.errors import ConfigurationError, EnterpriseError, StepError
from alembic_enterprise.partitions.declaration import NAME_BYTES
from alembic_enterprise.sessions import error_text
from alembic_enterprise.shards import catalog, leftovers
from alembic_enterprise.shards.catalog import Shard, ShardedTable
from alembic_enterprise.shards.growth import copies, copying, likeness, obstacles, swapping
from alembic_enterprise.shards.growth.copies import Mirror, Source
from alembic_enterprise.shards.growth.report import Behind, Done, Report, Split
from alembic_enterprise.shards.growth.worker import Job, Worker
from alembic_enterprise.shards.inspection import only
from alembic_enterprise.shards.leftovers import Copy
from alembic_enterprise.shards.model import SUFFIX
from alembic_enterprise.shards.moduli import COUNT_MAX, Class, fits, splits

__all__ = ["Job", "abort", "grow"]

LOCK = "alembic_enterprise.shards.grow {}"
"""Name of the advisory lock that two runs on one table, by its oid, compete for."""

PAUSE = 1.0
"""Seconds until the lag of replicas is looked at again."""

ROWS_PER_PAGE = 50
"""Taken for a shard that was never analyzed, until its first rows are copied."""


def grow(
    bind: Engine | Connection,
    table: str,
    count: int,
    job: Job | None = None,
    announce: Callable[[Report], None] = lambda _report: None,
) -> Report:
    """Split the shards of a table until it has `count`, while it is read and written.

    Opens two connections of its own on the engine of `bind`: one for the work, one for the advisory
    lock and for looking at blockers. Each shard is split into all its parts at once, so that a row
    is copied once.

    Args:
        bind: an engine, or a connection of it.
        table: its name, with or without its schema.
        count: how many shards there shall be: a multiple of each modulus there is.
        job: the choices of the run.
        announce: called with the report before the work begins; its `splits` say what will be done.

    Raises:
        ConfigurationError: before anything is tried: there is no such table, it cannot have so
            many shards, or something on it does not allow to split its shards while it is in use.
        DBAPIError: before anything is tried: there is no connection, or the catalog cannot be read.
    """
    job = job or Job()
    with ExitStack() as stack:
        run = _Run(Worker(stack, bind.engine, job), job, table)
        if run.lock(stack):
            run.plan(count)
            if not job.dry_run:
                announce(run.report)
                run.told(lambda: run.grow(count))
        elif run.report.other is not None:
            run.report.problems.append("nothing was split: run this again when that run has ended")
        return run.report


def abort(bind: Engine | Connection, table: str, job: Job | None = None) -> Report:
    """Remove the copies of shards that a growth has left undone.

    What was split already stays so: shards of several moduli are as good as others. Raises as
    `grow` does.
    """
    job = job or Job()
    with ExitStack() as stack:
        run = _Run(Worker(stack, bind.engine, job), job, table)
        if run.lock(stack):
            run.told(run.abort)
        elif run.report.other is not None:
            run.report.problems.append("nothing was removed: end that run first")
        return run.report


class _Run:
    """One run on one table, and the report it fills."""

    def __init__(self, worker: Worker, job: Job, name: str) -> None:
        self.worker = worker
        self.job = job
        self.table = only(catalog.read(worker.control).values(), name)
        self.report = Report(self.table.name)
        self.copied = 0

    def lock(self, stack: ExitStack) -> bool:
        """Hold the advisory lock until the stack ends, or note who has it."""
        control = self.worker.control
        self.report.other = locks.only_run(stack, control, LOCK.format(self.table.oid))
        if self.report.other is not None:
            return False
        self.table = only(catalog.read(control).values(), str(self.table.name))  # it may have grown
        return True

    def told(self, work: Callable[[], None]) -> None:
        """Do the work; what goes wrong from now on stays in the report."""
        try:
            work()
        except (EnterpriseError, DBAPIError) as error:
            self.report.problems.append(error_text(error))

    # Before

    def plan(self, count: int) -> None:
        """Fill in what is to be done. Raises `ConfigurationError` when it cannot be."""
        _require_count(self.table, count)
        _require_soon(self.worker.control, self.job.patience.lock_timeout)
        shards = self._to_split(count)
        sources = [self._source(shard) for shard in shards]
        found = obstacles.obstacles(self.worker.control, self.table, sources, self.worker.version)
        if sources and found:
            raise ConfigurationError(f"{self.table.name}: {'; '.join(found)}")
        if self.job.max_lag is not None:
            self._slowest()
        self.report.splits = [
            Split(
                item.name,
                held := item.shard.held,
                tuple(held.split(count)),
                item.rows or (None if item.pages else 0),
                item.size,
            )
            for item in sources
        ]

    def _to_split(self, count: int) -> list[Shard]:
        by_held = {shard.held: shard for shard in self.table.shards}
        return [by_held[held] for held in splits(by_held, count)]

    def _source(self, shard: Shard) -> Source:
        return copies.source(self.worker.connection, self.table, shard)

    # The work

    def grow(self, count: int) -> None:
        """Split what is to be split, and validate the foreign keys that were put back."""
        shards = self._to_split(count)
        self._discard(besides=[shard.oid for shard in shards])
        for shard in shards:
            self._split(shard, count)
        self._settle()

    def abort(self) -> None:
        """Remove what was begun."""
        self._discard()
        self._settle()

    def _split(self, shard: Shard, count: int) -> None:
        began = self.job.clock()
        source = self._source(shard)
        parts, mirror = self._begun(source, shard.held.split(count))
        mirror = self._copied(source, parts, mirror)
        self._run(source, "refer", copying.refer(source, parts))
        for name, key in copies.unvalidated(self.worker.connection, parts):
            self._run(source, "validate", copying.validate(name, key))
        for part in parts:
            self._run(source, "analyze", SQL("ANALYZE {}").format(part.name.sql))
        rows = self._compared(source, parts)
        self._run(source, "quiet", swapping.quiet(source, parts))
        found = obstacles.query(self.table, [source], self.worker.version)
        self._run(source, "swap", swapping.swap(source, parts, mirror, found))
        [(locked,)] = sql.rows(self.worker.connection, swapping.LOCKED_FOR)
        seconds = self.job.clock() - began
        self.report.done.append(Done(source.name, rows, seconds, locked))

    def _run(self, source: Source, step: str, statement: Composable) -> None:
        self.worker.run(f"{step} {source.name}", statement, self.report)

    def _begun(self, source: Source, parts: Sequence[Class]) -> tuple[list[Copy], Mirror]:
        """The copies of a shard and their mirror: those of an earlier run, or new ones."""
        found, mirror = self._found(source)
        fit = [copy.held for copy in found] == list(parts)
        same = fit and likeness.alike(self.worker.connection, source, found)
        if not same or (mirror is not None and not mirror.fires):
            self._discard(only=source.shard.oid)
            names = self._names(source, parts)
            self._run(source, "create copies of", copying.create(source, names, parts))
            found, mirror = self._found(source)
        if mirror is None:
            self._run(source, "mirror", copying.follow(source, found))
            found, mirror = self._found(source)
        if mirror is None:
            raise StepError(f"mirror {source.name}: it is gone already. The next run begins anew")
        return found, mirror

    def _found(self, source: Source) -> tuple[list[Copy], Mirror | None]:
        return copies.read(self.worker.connection, self.table).of(source.shard.oid)

    def _names(self, source: Source, parts: Sequence[Class]) -> list[str]:
        """Names for new copies: the first gets that of the shard when it takes its place."""
        free = copies.free_names(self.worker.connection, source, parts[1:])
        return [f"alembic_enterprise_copy_{source.shard.oid}", *free]

    def _copied(self, source: Source, parts: Sequence[Copy], mirror: Mirror) -> Mirror:
        """Copy the rows of a shard, from where an earlier run stopped."""
        before, file = self.copied, 0
        while True:
            mirror = copies.progress(self.worker.connection, source, mirror)
            self.copied = before + mirror.rows
            self.job.progress(self.copied, max(self.copied, self._expected()))
            moved = mirror.file != file
            if moved:
                source, file = self._source(source.shard), mirror.file
            if mirror.pages >= source.pages:  # later pages have mirrored rows only
                return mirror
            if moved:
                self._run(source, "copy", copying.prepare(source, parts, mirror))
            self._wait_for_replicas()
            pages = self._pages(source, mirror)
            self._run(source, "copy", copying.batch(mirror, pages))
            self.job.sleep(self.job.pause)

    def _expected(self) -> int:
        return sum(split.rows or 0 for split in self.report.splits)

    def _pages(self, source: Source, mirror: Mirror) -> int:
        """How many pages hold the rows of one batch."""
        rows, pages = (source.rows, source.pages) if source.rows else (ROWS_PER_PAGE, 1)
        if mirror.pages and mirror.rows:
            rows, pages = mirror.rows, mirror.pages
        # Pages may hold fewer rows than those before; by one row each a batch is never too large.
        return max(1, min(self.job.batch, self.job.batch * pages // rows))

    def _compared(self, source: Source, parts: Sequence[Copy]) -> int:
        """The number of rows. Raises `StepError` when shard and copies are not equal."""
        [(rows, others, equal)] = self.worker.first_of(
            copying.compare(source, parts, checksum) for checksum in copying.CHECKSUMS
        )
        if rows != others or not equal:
            raise StepError(
                f"compare {source.name}: it has {rows} rows and its copies {others}, or their "
                "contents differ. Run again with --abort, then without"
            )
        return int(rows)

    def _wait_for_replicas(self) -> None:
        while self.job.max_lag is not None:
            behind = self._slowest()
            if behind is None or behind.lag <= self.job.max_lag:
                return
            self.job.waiting(behind)
            self.job.sleep(PAUSE)

    def _slowest(self) -> Behind | None:
        """The replica that is behind most; None when there are none."""
        found = sql.rows(self.worker.control, _REPLICAS)
        if any(hidden for *_, hidden in found):
            raise ConfigurationError(
                "no right to see how far replicas are behind: GRANT pg_monitor to this role, or "
                "leave --max-lag out"
            )
        return next((Behind(replica, lag) for replica, lag, _ in found), None)

    # After

    def _settle(self) -> None:
        for key in leftovers.pending(self.worker.connection):
            if key.referred != self.table.oid:
                continue
            step = f"validate {key.name} of {key.table}"
            self.worker.run(step, swapping.settle(key), self.report)
            self.report.validated.append((key.table, key.name))

    def _discard(self, besides: Sequence[int] = (), only: int | None = None) -> None:
        """Remove what was begun: for one shard, or for all but some, by their oids."""
        found = copies.read(self.worker.connection, self.table)
        names = {shard.oid: str(shard.name) for shard in self.table.shards}
        for oid in found.shards:
            if oid in besides or only not in {None, oid}:
                continue
            name = names.get(oid, "a shard that is gone")
            self.worker.run(
                f"remove the copies of {name}", swapping.discard(*found.of(oid)), self.report
            )
            self.report.removed.append(name)


# What only receives WAL, as a backup does, replays none.
_REPLICAS = SQL("""
SELECT concat_ws(' at ', nullif(application_name, ''), host(client_addr)),
       pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)::bigint, state IS NULL
FROM pg_catalog.pg_stat_replication WHERE replay_lsn IS NOT NULL OR state IS NULL
ORDER BY 2 DESC""")


def _require_count(table: ShardedTable, count: int) -> None:
    """Raise `ConfigurationError` unless the shards can be split into `count`."""
    problem = next(_problems(table, count), None)
    if problem is not None:
        raise ConfigurationError(f"{table.name}: {problem}")


_DEADLOCK = SQL("SELECT setting::int FROM pg_catalog.pg_settings WHERE name = 'deadlock_timeout'")


def _require_soon(connection: Connection, lock_timeout: int) -> None:
    """Raise `ConfigurationError` unless a swap gives up before a deadlock is looked for."""
    [(deadlock,)] = sql.rows(connection, _DEADLOCK)
    if lock_timeout >= deadlock:
        raise ConfigurationError(
            f"a --lock-timeout of {lock_timeout} ms is not below the server's deadlock_timeout of "
            f"{deadlock} ms, so that in a deadlock with a swap the application's transactions "
            "would be the victims: give fewer milliseconds, and more --attempts"
        )


def _problems(table: ShardedTable, count: int) -> Iterator[str]:
    moduli = ", ".join(map(str, table.moduli))
    if not table.shards:
        yield "it has no shards: create them first, with op.create_hash_shards"
    if None in table.key.columns:
        yield "an expression is part of its key: rebuild the table with a plain column"
    if count > COUNT_MAX:
        yield f"{count} shards are too many: {COUNT_MAX} are the most"
    if count < table.count:
        yield (
            f"it has shards of modulus {table.count} already: write --to {table.count}, or a "
            "multiple"
        )
    if not fits(table.moduli, count):
        yield (
            f"its shards are of modulus {moduli}, which {count} is not a multiple of: "
            f"write --to {table.count * 2}, or another multiple"
        )
    others = [item for item in table.shards if item.kind != "table" and item.held.modulus < count]
    yield from (
        f"its shard {item.name} is a {item.kind}: replace it by a table, or build a new table with "
        f"{count} shards and move the rows"
        for item in others
    )
    if len((table.name.name + SUFFIX.format(count - 1)).encode()) > NAME_BYTES:
        yield f"the names of its shards would be longer than {NAME_BYTES} bytes: rename the table"
