"""A migration rehearsed: each statement that it sends to a shadow, with what that did there.

    scripts = revisions.pending(directory, stamped)
    performed = rehearse(config, shadow.url, scripts, print, version_table=version_table)
    performed[0].traces.locks

The session that migrates is asked itself, between its statements and in its transaction, so it sees
what others would only see as a lock they wait for. A statement outside of a transaction block is
first tried inside of one, which is rolled back; what the server refuses there is predicted.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import groupby
from typing import Any

from alembic.config import Config
from alembic.script import Script
from psycopg.sql import SQL, Literal
from sqlalchemy import URL, Connection, Engine, event
from sqlalchemy.exc import DBAPIError

from alembic_enterprise import sql
from alembic_enterprise.plan.locks.prediction import predicted
from alembic_enterprise.plan.locks.traces import Locks, Relation, Relations, Traces, difference
from alembic_enterprise.plan.model import Basis, Loss
from alembic_enterprise.plan.rehearsal.losses import losses
from alembic_enterprise.plan.rehearsal.phrases import (
    called,
    is_query,
    is_silent,
    named,
    readable,
    takes_rows,
    truncated,
)
from alembic_enterprise.plan.rehearsal.recorder import Recorded, Recorder
from alembic_enterprise.plan.shadow import replay
from alembic_enterprise.sql import Name


@dataclass(frozen=True)
class Performed:
    """One statement of a rehearsal.

    Attributes:
        statement: as a reviewer reads it, without the values of rows.
        revision: whose script ran it.
        transaction: 1 is the first with a statement; one outside of a block has one of its own.
        operation: the call of Alembic's `op` that ran it, when it is one of this package.
        transactional: whether it ran in a transaction block.
        lock_timeout: how long it waits for a lock at most; None when that has no end.
        before: the relations that it is about, as they were, with their tables and parents.
        live: what those of them are called in the live database that are there; None when they are
            all there, and called as they were.
        traces: what it did; of new locks only.
        released: locks that its transaction had taken, and lost before it by going back to a
            savepoint.
        basis: where that is known from.
        predicted_for: the version of PostgreSQL that a prediction is of.
        lost: what it took away of the live database for good, but for rows of DELETE.
        loses_data: whether it took rows, or what was in them.
        calls: whether it asks functions of the database, which may do that without a word of it.
        names: all that may be the name of a relation in it, without schemas, where `statement` does
            not show that.
    """

    statement: str
    revision: str
    transaction: int
    operation: str | None = None
    transactional: bool = True
    lock_timeout: timedelta | None = None
    before: Relations = field(default_factory=dict[int, Relation])
    live: Mapping[int, Name] | None = None
    traces: Traces = field(default_factory=Traces)
    released: Locks = frozenset()
    basis: Basis = Basis.UNKNOWN
    predicted_for: str | None = None
    lost: tuple[Loss, ...] = ()
    loses_data: bool = False
    calls: bool = False
    names: Collection[str] | None = None


def rehearse(
    config: Config,
    url: URL,
    scripts: Sequence[Script],
    progress: Callable[[str], None],
    *,
    version_table: Name,
    live: Relations | None = None,
    major: int | None = None,
) -> list[Performed]:
    """Run the upgrades of scripts in order on a shadow, and report what each statement did.

    Left out are statements that do nothing to relations: settings, savepoints, queries of the
    catalog, blocks of our operations that find nothing to do, and Alembic's own of its version
    table.

    Args:
        config: Alembic's configuration of the project.
        url: of the shadow.
        scripts: in the order in which they run.
        progress: called with each script before it begins.
        version_table: where Alembic keeps the revisions.
        live: the relations of the live database, by the oids that they have on the shadow; those
            that the first statement finds there by default.
        major: version that is predicted for, where nothing can be measured: of the live server;
            the shadow's by default.

    Raises:
        ConfigurationError: env.py fails.
        StepError: a migration fails; `refused` has the statement.
    """
    found = _Rehearsal(version_table, live, major)

    def watch(connection: Connection, script: Script) -> None:
        progress(f"revision {script.revision}")
        found.watch(connection, script.revision)

    def look(connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
        if connection.engine.url.database == url.database:
            found.look(connection, statement)

    event.listen(Engine, "before_cursor_execute", look)
    try:
        replay.upgrade(config, url, scripts, watch, replay.ON_A_COPY)
    finally:
        event.remove(Engine, "before_cursor_execute", look)
    return [*_numbered(found.performed)]


def _numbered(performed: Iterable[Performed]) -> Iterator[Performed]:
    """Number the transactions again: those of other connections have come between them."""
    together = groupby(performed, lambda one: one.transaction)
    for number, (_, group) in enumerate(together, 1):
        yield from (replace(one, transaction=number) for one in group)


def refused(error: BaseException) -> DBAPIError | None:
    """The server's refusal behind an error of `rehearse`; its `statement` is what was refused."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, DBAPIError):
        cause = cause.__cause__
    return cause


Evidence = tuple[Traces, Basis, str | None]
"""What a statement did, where that is known from, and the version that it is predicted for."""


class _Rehearsal:
    """What has been seen so far."""

    def __init__(self, version_table: Name, live: Relations | None, major: int | None) -> None:
        self.performed: list[Performed] = []
        self._live = live
        self._version_table = version_table
        self._major = major
        self._revision = ""
        self._watched: dict[Connection, Recorder] = {}
        self._transaction = 0
        self._others = 0
        """Of transactions on other connections, counted down."""
        self._start: Relations = {}
        """The relations when the transaction began; others still see those that it has dropped."""
        self._hidden: set[int] = set()
        """The version table, and what the transaction has made, which nobody else sees."""
        self._locks: Locks = frozenset()
        """What the transaction held after its last statement."""

    def watch(self, connection: Connection, revision: str) -> None:
        """Take down what a revision does on a connection."""
        self._revision = revision
        if connection not in self._watched:
            self._watched[connection] = Recorder(
                connection, self._version_table, lambda one: self._take(connection, one)
            )

    def look(self, connection: Connection, statement: str) -> None:
        """Take down what a script does on a connection of its own, of which no effect is known.

        It is committed before the transaction that is open here.
        """
        if not self._watched or connection in self._watched:
            return
        if is_silent(statement) or is_query(statement):
            return
        is_open = any(recorder.is_numbered for recorder in self._watched.values())
        later = [is_open and one.transaction == self._transaction for one in self.performed]
        self._others -= 1
        one = Performed(readable(statement), self._revision, self._others, transactional=False)
        self.performed.insert(later.count(False), replace(one, names=named(statement)))

    def _take(self, connection: Connection, recorded: Recorded) -> None:
        if self._live is None:
            self._live = recorded.before.relations
        if recorded.transaction != self._transaction:
            self._transaction, self._start = recorded.transaction, recorded.before.relations
            self._hidden = _named(connection, self._version_table, recorded.before.relations)
            self._locks = frozenset()
        found = self._evidence(connection, recorded)
        if not (_only_asks(recorded, found[0]) or _only_looks(recorded, found)):
            calls = recorded.operation is None and _calls(connection, recorded.statement)
            self.performed.append(self._performed(recorded, found, calls=calls))
            self._locks = recorded.after.locks
        if recorded.transactional:
            self._hidden |= recorded.after.relations.keys() - recorded.before.relations.keys()

    def _evidence(self, connection: Connection, recorded: Recorded) -> Evidence:
        """What a statement did, and where that is known from."""
        looks = (recorded.before, recorded.after) if recorded.transactional else recorded.tried
        if looks is not None:
            traces = difference(*looks, truncated(recorded.statement))
            return _without(traces, self._hidden), Basis.MEASURED, None
        major = self._major or _major(connection)
        before, after = recorded.before.relations, recorded.after.relations
        prediction = predicted(connection, recorded.statement, before, after, major)
        if prediction is None:
            return Traces(), Basis.UNKNOWN, None
        return prediction.traces, Basis.PREDICTED, prediction.server

    def _performed(self, recorded: Recorded, found: Evidence, *, calls: bool) -> Performed:
        traces, basis, server = found
        before, after = recorded.before.relations, recorded.after.relations
        # What was locked by nobody's statement, as by env.py, counts with the first one after it.
        locks = traces.locks | self._visible(recorded.before.locks - self._locks, before)
        traces, released = replace(traces, locks=locks), self._locks - recorded.before.locks
        released = self._visible(released, before)
        dropped = [oid for oid in before.keys() - after.keys() if oid not in self._hidden]
        loses = any(before[oid].kind in "rp" for oid in dropped) or bool(traces.emptied)
        is_ours = recorded.operation is not None
        lost = self._lost(recorded, traces)
        about, live = self._about(before, _oids(traces, released)), self._live or {}
        return Performed(
            statement=recorded.statement.strip() if is_ours else readable(recorded.statement),
            revision=self._revision,
            transaction=recorded.transaction,
            operation=recorded.operation,
            transactional=recorded.transactional,
            lock_timeout=recorded.after.lock_timeout,
            before=about,
            live={oid: live[oid].name for oid in about if oid in live},
            traces=traces,
            released=released,
            basis=basis,
            predicted_for=server,
            lost=lost,
            loses_data=loses or bool(lost) or (takes_rows(recorded.statement) and not is_ours),
            calls=calls,
            names=named(recorded.statement) if basis is Basis.UNKNOWN else None,
        )

    def _lost(self, recorded: Recorded, traces: Traces) -> tuple[Loss, ...]:
        """What the live database has lost.

        An operation of ours has found the partitions that it drops empty, or has copied their rows,
        unless it was told to lose them. A statement that was tried in a transaction block has shown
        there what becomes of columns.
        """
        looks = recorded.tried or (recorded.before, recorded.after)
        before, after = (one.relations for one in looks)
        keeps = recorded.operation is not None and not recorded.drops_rows
        found = losses(self._live or {}, before, after, traces.emptied, keeps_partitions=keeps)
        return tuple(found)

    def _visible(self, locks: Locks, before: Relations) -> Locks:
        """Locks on relations that others see."""
        return frozenset(
            (oid, mode)
            for oid, mode in locks
            if oid not in self._hidden and (oid in before or oid in self._start)
        )

    def _about(self, before: Relations, oids: Iterable[int]) -> dict[int, Relation]:
        """Some relations, with their tables and what these are partitions of."""
        found: dict[int, Relation] = {}
        waiting: list[int | None] = [*oids]
        while waiting:
            oid = waiting.pop()
            if oid is None or oid in found:
                continue
            if relation := before.get(oid) or self._start.get(oid):
                found[oid] = relation
                waiting += [relation.table, relation.parent]
        return found


def _major(connection: Connection) -> int:
    [(version,)] = sql.rows(connection, SQL("SELECT current_setting('server_version_num')::int"))
    return int(version) // 10000


_VOLATILE = SQL("""
SELECT EXISTS (SELECT FROM pg_catalog.pg_proc
               WHERE oid >= 16384 AND provolatile = 'v' AND proname = ANY ({}::text[]))""")


def _calls(connection: Connection, statement: str) -> bool:
    """Whether a statement calls functions of the database that may write."""
    if not (names := called(statement)):
        return False
    [(found,)] = sql.rows(connection, _VOLATILE.format(Literal([*names])))
    return bool(found)


def _only_asks(recorded: Recorded, traces: Traces) -> bool:
    """Whether it is a query that looks at nothing but the catalog."""
    same = recorded.before.relations is recorded.after.relations
    return same and is_query(recorded.statement) and not (traces.locks or traces.scanned)


def _only_looks(recorded: Recorded, found: Evidence) -> bool:
    """Whether a statement of an operation has found nothing to do, outside of a block."""
    traces, basis, _ = found
    is_apart = recorded.operation is not None and not recorded.transactional
    same = recorded.before.relations is recorded.after.relations
    return is_apart and same and basis is Basis.MEASURED and traces == Traces()


def _named(connection: Connection, table: Name, relations: Relations) -> set[int]:
    """A table, if it is there, and its indexes."""
    query = SQL("SELECT to_regclass({})::oid").format(Literal(table.text))
    [(oid,)] = sql.rows(connection, query)
    return {
        one.oid for one in relations.values() if oid is not None and oid in (one.oid, one.table)
    }


def _without(traces: Traces, hidden: set[int]) -> Traces:
    locks = frozenset((oid, mode) for oid, mode in traces.locks if oid not in hidden)
    others = (traces.rewritten, traces.scanned, traces.emptied)
    return Traces(locks, *(oids - hidden for oids in others))


def _oids(traces: Traces, released: Locks) -> set[int]:
    return {oid for oid, _ in traces.locks | released} | traces.rewritten | traces.scanned
