"""What one expects of every release, tried on databases like the live one: the proof of a plan."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from alembic.config import Config
from alembic.script import Script
from alembic.util import CommandError
from psycopg.sql import SQL, Literal
from sqlalchemy import URL, Connection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from alembic_enterprise import registry, sql
from alembic_enterprise.audit.capture import HISTORY_COMMENT
from alembic_enterprise.errors import EnterpriseError, StepError
from alembic_enterprise.partitions.marks import PARTITION_OF
from alembic_enterprise.plan.model import Outcome, Proof
from alembic_enterprise.plan.proposal import autogenerate
from alembic_enterprise.plan.schema import drift
from alembic_enterprise.plan.schema.objects import (
    Change,
    Difference,
    Key,
    Objects,
    compare,
    is_of_schema,
)
from alembic_enterprise.plan.shadow import apart, replay
from alembic_enterprise.plan.shadow.database import Shadow
from alembic_enterprise.plan.shadow.statements import statements
from alembic_enterprise.sql import Name, Remaining
from alembic_enterprise.urls import connected
from alembic_enterprise.wording import counted

AUTOGENERATE = "after the upgrade autogenerate finds nothing"
DOWNGRADE = "the downgrade gives the schema of the start"
AGAIN = "after the downgrade the upgrade runs again"
OFFLINE = "the SQL that --sql writes gives the same schema, and as many rows"

SHARED = (
    "It ran in the rehearsal, and what belongs to the whole server, as a role does, is there since "
    "then. Make that outside of migrations, or only where it is missing, to have the rest tried"
)
REMAINS = "It ran there before, until its downgrade: let that drop all that the upgrade makes"
"""Advice where an upgrade runs once, and not again."""

FAILURES = (EnterpriseError, CommandError, SQLAlchemyError)
"""What Alembic, env.py and the server may answer; a failed proof says it."""


@dataclass(frozen=True)
class Proven:
    """What was tried, and how it went.

    Attributes:
        proofs: in the order in which they were tried.
        reversible: whether the downgrade of a revision runs, and those of all that come after it,
            and they leave the schema of the start; empty when none was tried.
    """

    proofs: tuple[Proof, ...] = ()
    reversible: Mapping[str, bool] = field(default_factory=dict[str, bool])


@dataclass(frozen=True)
class _Trial:
    """What is tried.

    Attributes:
        start: the schema before all scripts.
        after: the schema after them.
    """

    config: Config
    shadow: Shadow
    scripts: Sequence[Script]
    version_table: Name
    start: Objects
    after: Objects


def prove(
    config: Config,
    shadow: Shadow,
    start: URL,
    scripts: Sequence[Script],
    version_table: Name,
    objects: Objects,
) -> Proven:
    """Try scripts that are known to run: there, back, there again, and as the SQL of `--sql`.

    All of it happens on tables without rows.

    Args:
        config: Alembic's configuration of the project, which knows the scripts.
        shadow: on whose server there may be more databases.
        start: a database as it is before the scripts, to which nobody is connected; they run there.
        scripts: in the order in which they come; the last one is the head of the project.
        version_table: where Alembic keeps the revisions.
        objects: those of the start, as `drift.objects_of` gives them.

    Raises:
        ConfigurationError: env.py fails.
        ServerError: no further database can be had.
    """
    with connected(start) as connection:
        before = _to_be_compared(connection, objects, version_table)
    with shadow.clone(start) as url:
        try:
            replay.upgrade(config, url, scripts, advice=SHARED)
        except StepError as error:
            return _untried(error)
        after, rows = _outcome(url, version_table)
        trial = _Trial(config, shadow, scripts, version_table, before, after)
        converged = _autogenerate(trial, url)
        downgrade, back = _downgrade(trial, url)
        is_back = all(back.values())
        again = _again(trial, url, is_back=is_back)
    proofs = converged, downgrade, again, _offline(trial, start, rows)
    if is_back:  # which of the scripts leaves another schema is not known
        return Proven(proofs, dict.fromkeys(back, downgrade.outcome is Outcome.PASSED))
    return Proven(proofs, back)


def _untried(error: StepError) -> Proven:
    """Nothing is proved of an upgrade that runs once on a server, and it is not wrong for that."""
    first, *others = (AUTOGENERATE, DOWNGRADE, AGAIN, OFFLINE)
    skipped = [Proof(name, Outcome.SKIPPED, ("for the same reason",)) for name in others]
    return Proven((Proof(first, Outcome.SKIPPED, (str(error),)), *skipped))


def _autogenerate(trial: _Trial, url: URL) -> Proof:
    try:
        changes = replay.visit(
            trial.config,
            url,
            lambda context: autogenerate.compared(context, unknown=trial.shadow.unknown),
        )
    except FAILURES as error:
        return _proof(AUTOGENERATE, [replay.said(error)])
    ours = [
        f"{item.table}: op.{operation}"
        for item in changes.enterprise
        for operation in item.operations
    ]
    return _proof(AUTOGENERATE, [*changes.model_changes, *ours])


def _downgrade(trial: _Trial, url: URL) -> tuple[Proof, dict[str, bool]]:
    """Take the scripts back, and report which of them can be."""
    begun: list[Script] = []
    try:
        replay.downgrade(
            trial.config, url, trial.scripts, lambda _connection, script: begun.append(script)
        )
    except FAILURES as error:
        reversible = {script.revision: script in begun[:-1] for script in trial.scripts}
        return _no_way_back(begun, error), reversible
    proof = _proof(DOWNGRADE, map(_line, _left(trial, url)))
    return proof, {script.revision: True for script in trial.scripts}


def _no_way_back(begun: Sequence[Script], error: Exception) -> Proof:
    """Whether it is by mistake, or the script says so."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, NotImplementedError):
        cause = cause.__cause__
    reason = "its downgrade() raises NotImplementedError"
    if begun and not hasattr(begun[-1].module, "downgrade"):
        reason = "there is no downgrade() in it"
    elif apart.SHARED in str(error):
        return Proof(DOWNGRADE, Outcome.SKIPPED, (replay.said(error),))
    elif cause is None:
        return _proof(DOWNGRADE, [replay.said(error)])
    return Proof(DOWNGRADE, Outcome.SKIPPED, (f"revision {begun[-1].revision} has none: {reason}",))


def _left(trial: _Trial, url: URL) -> list[Difference]:
    """How the schema differs from that of the start.

    That one has gone through pg_dump, after which not every definition reads as it was written.
    """
    with connected(url) as source:
        if not _differences(trial, _objects(source, trial.version_table)):
            return []
        copy = trial.shadow.copy(source, trial.version_table)
        with copy as there, connected(there) as copied:
            return _differences(trial, _objects(copied, trial.version_table))


def _differences(trial: _Trial, found: Objects) -> list[Difference]:
    """The differences from the start, without what stays on purpose, or is not wanted back.

    A history keeps the columns that its table has lost. A downgrade keeps partitions of ours that
    were missing here: another database may have had them all along. What a try that was cut has
    left is finished by the upgrade, and what that has made the downgrade takes back.
    """
    finished = _finished(trial, found)
    taken_back = {item for key in finished for item in _taken_back(trial, key, finished[key])}
    histories = tuple(f"{name}." for name in _commented(trial.start, HISTORY_COMMENT))
    partitions = _commented(found, PARTITION_OF)

    def is_meant(item: Difference) -> bool:
        if item.change is not Change.ADDED:
            return (item.kind, item.name, item.after) in taken_back
        if item.kind == "table":
            return item.name in partitions
        return item.kind == "column" and item.name.startswith(histories)

    # Indexes of partitions are valid before that of their table is, and go with it all the same.
    return [item for item in compare({**trial.start, **finished}, found) if not is_meant(item)]


INVALID, NOT_VALID = " INVALID", " NOT VALID"
"""How the definitions end of an index that no query uses, and of a constraint that old rows may
break; that of a column may go on."""

HELPER = "alembic_enterprise_not_null_"
"""How constraints are called that go when the column is NOT NULL, before PostgreSQL 18."""


def _finished(trial: _Trial, found: Objects) -> dict[Key, str]:
    """What was unfinished at the start, and is so no more, as it is after the upgrade."""
    finished: dict[Key, str] = {}
    for key, text in trial.start.items():
        whole = _whole(key, text)
        if text in (whole, found.get(key)):
            continue
        after = trial.after.get(key, whole if HELPER in key.name else None)
        if after == whole or (key.kind == "index" and _is_no_loss(trial, found, key, whole)):
            finished[key] = whole
    return finished


def _is_no_loss(trial: _Trial, found: Objects, key: Key, whole: str) -> bool:
    """Whether an INVALID index became a constraint's, is valid in the end, or was of no use.

    That of a partitioned table has parts that queries use, and a unique one refuses duplicates,
    valid or not.
    """
    if key not in trial.after and _constraint(trial.after, key) is not None:
        return True
    is_of_use = whole.startswith("CREATE UNIQUE ") or " ON ONLY " in whole
    return found.get(key) == whole or not is_of_use


def _constraint(objects: Objects, index: Key) -> Key | None:
    """The constraint that an index is of, which has its name."""
    own = _SCHEMA.sub("", index.name, count=1)
    key = Key(index.relation, "constraint", f"{index.relation}.{own}")
    return key if objects.get(key, "").startswith(("UNIQUE", "PRIMARY KEY")) else None


def _taken_back(trial: _Trial, key: Key, whole: str) -> Iterator[tuple[str, str, str | None]]:
    """What a downgrade may make of something that the upgrade has finished.

    No operation of ours adds a CHECK but for the time being, so that one was meant to stay.
    """
    if key.kind == "column":
        yield key.kind, key.name, _nullable(whole)
    elif not whole.startswith("CHECK") or HELPER in key.name:
        yield key.kind, key.name, None
    if key.kind == "index" and (constraint := _constraint(trial.start, key)):
        yield constraint.kind, constraint.name, None


def _whole(key: Key, text: str) -> str:
    if key.kind == "index":
        return text.removesuffix(INVALID)
    return text.replace(NOT_VALID, "") if key.kind in ("constraint", "column") else text


def _nullable(column: str) -> str:
    return column.replace(" NOT NULL", "", 1)


def _commented(objects: Objects, beginning: str) -> set[str]:
    """The relations whose comment begins so."""
    return {
        key.relation
        for key, text in objects.items()
        if key.kind == "comment" and text.startswith(beginning)
    }


def _again(trial: _Trial, url: URL, *, is_back: bool) -> Proof:
    if not is_back:
        return Proof(AGAIN, Outcome.SKIPPED, ("the downgrade has not come to its end",))
    try:
        replay.upgrade(trial.config, url, trial.scripts, advice=REMAINS)
    except FAILURES as error:
        return _proof(AGAIN, [replay.said(error)])
    return Proof(AGAIN, Outcome.PASSED)


def _offline(trial: _Trial, start: URL, rows: Mapping[str, int]) -> Proof:
    """Run the SQL as psql would on the database of the start."""
    try:
        script = replay.offline(trial.config, trial.scripts, trial.shadow.original.revisions)
    except FAILURES as error:
        reason = f"there is none: {replay.said(error)}"
        return Proof(OFFLINE, Outcome.SKIPPED, (reason,))
    if not script:
        return Proof(OFFLINE, Outcome.SKIPPED, ("env.py gives it to an output_buffer of its own",))
    if refusal := _run(script, start):
        return _proof(OFFLINE, [refusal])
    after, filled = _outcome(start, trial.version_table)
    found = compare(trial.after, after)
    return _proof(OFFLINE, [*map(_line, found), *_uneven(rows, filled)])


def _run(script: str, url: URL) -> str | None:
    r"""Send statements one by one, and with `\gexec` what they return. Returns what failed."""
    with connected(url) as connection:
        session = connection.execution_options(isolation_level="AUTOCOMMIT")
        for number, statement in enumerate(statements(script), 1):
            try:
                _send(session, statement.text)
            except (StepError, DBAPIError) as error:
                words = " ".join(statement.words)
                return f"statement {number}, {words} ...: {replay.said(error)}"
    return None


def _send(session: Connection, text: str) -> None:
    query = text.removesuffix(r"\gexec")
    statement = SQL(query)  # pyright: ignore[reportArgumentType]  # Alembic's
    if query == text:
        sql.execute(session, statement)
    else:
        sql.run_remaining(session, Remaining([statement]))


def _outcome(url: URL, version_table: Name) -> tuple[Objects, dict[str, int]]:
    """The objects of a database, and how many rows there are in each table that has some."""
    with connected(url) as connection:
        return _objects(connection, version_table), _rows(connection)


def _objects(connection: Connection, version_table: Name) -> Objects:
    return _to_be_compared(connection, drift.objects_of(connection), version_table)


def _to_be_compared(connection: Connection, objects: Objects, version_table: Name) -> Objects:
    """The objects of a database but for what is made when it is needed, and never dropped.

    That is Alembic's own table and ours, of which the content counts, and empty schemas: the first
    audit trail makes one.
    """
    query = _OWN.format(version_table.regclass, Literal(registry.TABLE))
    own = {name for (name,) in sql.rows(connection, query)}
    found = {key: text for key, text in objects.items() if key.relation not in own}
    used = {part[1] for key in found if (part := _SCHEMA.match(key.relation or key.name))}
    schemas = {key.name for key in found if key.kind == "schema"}
    empty = {f"schema {name}" for name in schemas - used - {"public"}}
    return {key: text for key, text in found.items() if not is_of_schema(key, empty)}


def _rows(connection: Connection) -> dict[str, int]:
    tables = [Name(*row) for row in sql.rows(connection, _FILLED)]
    count = SQL("SELECT count(*) FROM ONLY {}")
    return {str(table): sql.rows(connection, count.format(table.sql))[0][0] for table in tables}


def _uneven(expected: Mapping[str, int], found: Mapping[str, int]) -> Iterator[str]:
    for table in sorted({*expected, *found}):
        online, offline = expected.get(table, 0), found.get(table, 0)
        if online != offline:
            yield f"table {table} has {counted(offline, 'row')}, not {online:,}"


def _line(item: Difference) -> str:
    """What is wrong with an object; `before` is how it should be."""
    if item.change is Change.ADDED:
        return f"{item.kind} {item.name} is left over{_type_stays(item)}"
    if item.change is Change.MISSING:
        return f"{item.kind} {item.name} is missing"
    if not item.before:
        return f"{item.kind} {item.name} is {item.after}, and should not be"
    return f"{item.kind} {item.name} is {item.after}, not {item.before}"


def _type_stays(item: Difference) -> str:
    """The next step where autogenerate leaves a type behind: an enum that goes with no table."""
    if item.kind != "type":
        return ""
    drop = f"DROP TYPE {item.name}"
    return f": autogenerate drops no type, so let downgrade() end in op.execute({drop!r})"


def _proof(name: str, differences: Sequence[str] | Iterator[str]) -> Proof:
    """A proof, which has passed when there are no differences."""
    found = tuple(differences)
    return Proof(name, Outcome.FAILED if found else Outcome.PASSED, found)


_SCHEMA = re.compile(r'("(?:[^"]|"")+"|[^".]+)\.')
"""At the beginning of a quoted name."""

_OWN = SQL("""
SELECT format('%I.%I', n.nspname, c.relname) FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.oid = to_regclass({}) OR c.relname = {}""")

_FILLED = SQL("""
SELECT n.nspname, c.relname FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND pg_relation_size(c.oid) > 0
  AND n.nspname !~ '^(pg_|information_schema$)'""")
