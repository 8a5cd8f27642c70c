"""What is right and what is missing: each check a pure function of the facts."""

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from alembic_enterprise.doctor.facts import PLUGIN, Environment, Facts, Project, Versions
from alembic_enterprise.operation import COMMIT_FIRST
from alembic_enterprise.registry import TABLE
from alembic_enterprise.sessions import OLDEST

FORMAT_VERSION = 1
"""Of `document`; it changes when a reader of the old shape would go wrong."""

State = Literal["ok", "missing", "unknown"]

PLUGINS = ("alembic.autogenerate.*", "alembic_enterprise.*")
"""What `autogenerate_plugins` lists."""

CONFIGURE = "in env.py, in each call of context.configure(), write "
EACH = "transaction_per_migration=True"
SET_TIMEOUT = "context.execute(\"SET lock_timeout = '5s'\")"


@dataclass(frozen=True)
class Row:
    """The outcome of one check.

    Attributes:
        check: its stable id.
        message: what is there, or is missing.
        fix: what to do about it; None when all is well.
    """

    check: str
    state: State
    message: str
    fix: str | None = None


def examine(facts: Facts) -> list[Row]:
    """The outcome of every check."""
    rows = [check(facts.versions) for check in VERSION_CHECKS]
    rows += [check(facts) for check in DATABASE_CHECKS]
    if facts.project is None or facts.environment is None:
        return [*rows, _without_environment()]
    rows += [check(facts.project) for check in PROJECT_CHECKS]
    return [*rows, *(check(facts.environment) for check in ENVIRONMENT_CHECKS)]


def examine_unconnected(versions: Versions, project: Project) -> list[Row]:
    """The outcome of the checks that need no connection; one row stands for all others."""
    rows = [check(versions) for check in VERSION_CHECKS]
    return [*rows, _without_server(), *(check(project) for check in PROJECT_CHECKS)]


def document(rows: Sequence[Row]) -> dict[str, Any]:
    """What `doctor --format json` prints."""
    return {"format_version": FORMAT_VERSION, "checks": [asdict(row) for row in rows]}


def _without_server() -> Row:
    return Row(
        "server",
        "unknown",
        "the server, privileges on it, and what env.py configures with its connection",
        "mend the error that ends this, and run doctor again",
    )


def _without_environment() -> Row:
    return Row(
        "environment",
        "unknown",
        "env.py: plugin, autogenerate_plugins, target_metadata, schemas, transactions",
        "run this without --url, in the project's folder",
    )


def python(versions: Versions) -> Row:
    """Python 3.11."""
    return _version("python", "Python", versions.python, "3.11")


def alembic(versions: Versions) -> Row:
    """Alembic 1.18, which has plugins."""
    return _version("alembic", "Alembic", versions.alembic, "1.18", "alembic")


def sqlalchemy(versions: Versions) -> Row:
    """SQLAlchemy 2.0."""
    return _version("sqlalchemy", "SQLAlchemy", versions.sqlalchemy, "2.0", "sqlalchemy")


def psycopg(versions: Versions) -> Row:
    """Psycopg 3, which quotes our SQL whatever driver runs it."""
    return _version("psycopg", "psycopg", versions.psycopg, "3.2", "psycopg")


def _version(check: str, name: str, found: str, least: str, package: str | None = None) -> Row:
    if _numbers(found) >= _numbers(least):
        return Row(check, "ok", f"{name} {found}")
    fix = f'pip install "{package}>={least}"' if package else f"install {name} {least} or newer"
    return Row(check, "missing", f"{name} {found} is older than {least}", fix)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])


def server(facts: Facts) -> Row:
    """PostgreSQL 14, the oldest that is maintained."""
    version = facts.server_version
    name = f"PostgreSQL {version // 10000}.{version % 10000}"
    if version >= OLDEST:
        return Row("server", "ok", name)
    return Row("server", "missing", f"{name} is older than 14", "upgrade the server to 14 or newer")


def lock_timeout(facts: Facts) -> Row:
    """A migration that waits for a lock makes everybody else wait behind it."""
    if facts.lock_timeout != "0":
        return Row("lock_timeout", "ok", f"lock_timeout is {facts.lock_timeout}")
    if facts.environment is None:
        message, fix = "whether env.py sets a lock_timeout", "run this without --url"
        return Row("lock_timeout", "unknown", message, fix)
    fix = (
        f"after each context.begin_transaction() in env.py, write {SET_TIMEOUT}; "
        "or ALTER ROLE ... SET lock_timeout = '5s'"
    )
    message = "no lock_timeout: a migration that waits for a lock blocks all who come after it"
    return Row("lock_timeout", "missing", message, fix)


def defaults(facts: Facts) -> Row:
    """What a role or a database sets for its transactions may keep migrations from their work."""
    if facts.read_only:
        message = "default_transaction_read_only is on: neither migrations nor jobs can write"
        fix = "ALTER ROLE ... SET default_transaction_read_only = off, for the role that migrates"
        return Row("defaults", "missing", message, fix)
    if not facts.isolation.startswith("read "):  # "uncommitted" is the same here
        message = (
            f"transactions are {facts.isolation}: what counts or copies rows refuses to run, as it "
            "would not see those committed meanwhile"
        )
        fix = (
            "ALTER ROLE ... SET default_transaction_isolation = 'read committed', for the role "
            "that migrates; or no isolation_level for the engine in env.py"
        )
        return Row("defaults", "missing", message, fix)
    return Row("defaults", "ok", "transactions may write, and see what others commit meanwhile")


def clock(facts: Facts) -> Row:
    """A moment that was pretended for a trial, and forgotten, goes on to count."""
    if not facts.pretended:
        return Row("clock", "ok", "the clock is the server's")
    message = (
        f"alembic_enterprise.now is {facts.pretended}: migrations and the job take that for now"
    )
    fix = "ALTER DATABASE ... RESET alembic_enterprise.now, or ALTER ROLE, where that has set it"
    return Row("clock", "missing", message, fix)


def pooling(facts: Facts) -> Row:
    """Settings and advisory locks of a session do not survive transaction pooling."""
    if facts.pooled is None:
        fix = "mend what is missing with transactions first, and run doctor again"
        return Row("pooling", "unknown", "whether sessions are pooled by transaction", fix)
    if not facts.pooled:
        return Row("pooling", "ok", "sessions have a server process of their own")
    message = (
        "sessions share server processes (PgBouncer, pool_mode = transaction): "
        "lock_timeout and advisory locks do not hold"
    )
    fix = "migrate through a URL that leads to PostgreSQL itself, or to pool_mode = session"
    return Row("pooling", "missing", message, fix)


def schemas(facts: Facts) -> Row:
    """Partitions are created in the schema of their table."""
    role, closed = facts.privileges.role, facts.privileges.closed_schemas
    if not closed:
        return Row("schemas", "ok", f"role {role} may create tables")
    each = ", ".join(f"{who} in {name}" for name, who in closed)
    fix = "; ".join(
        f"GRANT CREATE ON SCHEMA {_quoted(name)} TO {_quoted(who)}" for name, who in closed
    )
    return Row("schemas", "missing", f"may not create tables: role {each}", fix)


def owners(facts: Facts) -> Row:
    """Only the owner of a table attaches partitions to it."""
    role, tables = facts.privileges.role, facts.privileges.foreign_tables
    unused, unreadable = facts.privileges.unused, facts.privileges.unreadable
    if closed := sorted({*unused, *unreadable}):
        message = f"role {role} may not read the partition policies in {', '.join(closed)}"
        rights = [f"USAGE ON SCHEMA {_quoted(name)}" for name in unused]
        rights += [f"SELECT ON {_quoted(name)}.{TABLE}" for name in unreadable]
        grants = (f"GRANT {right} TO {_quoted(role)}" for right in rights)
        fix = "connect as the role that owns the tables, or " + "; ".join(grants)
        return Row("owners", "missing", message, fix)
    if not tables:
        return Row("owners", "ok", f"role {role} owns every table with a partition policy")
    names = ", ".join(f"{table} (owner {owner})" for table, owner in tables.items())
    owner = sorted(set(tables.values()))
    fix = "connect as the owner, or " + "; ".join(
        f"GRANT {_quoted(name)} TO {_quoted(role)}"
        + (" WITH SET TRUE" if name in facts.privileges.unset_owners else "")
        for name in owner
    )
    return Row("owners", "missing", f"role {role} does not own {names}", fix)


def search_path(facts: Facts) -> Row:
    """Whoever may create a function there can have migrations call it.

    A call goes to the function whose arguments fit best, whichever schema of the search_path it is
    in (PostgreSQL docs, "Schemas", "Usage Patterns"; CVE-2018-1058).
    """
    role, others = facts.privileges.role, facts.privileges.others
    if not others:
        message = "only trusted roles may create functions in schemas of the search_path"
        return Row("search_path", "ok", message)
    who = ", ".join(f"{other or 'PUBLIC'} in {schema}" for schema, other in others)
    message = (
        f"CREATE is granted on schemas of the search_path to {who}: "
        f"a function made there can get the rights of role {role}"
    )
    fix = "; ".join(
        f"REVOKE CREATE ON SCHEMA {_quoted(schema)} FROM "
        + ("PUBLIC" if other is None else _quoted(other))
        for schema, other in others
    )
    return Row("search_path", "missing", message, fix)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def plugin(project: Project) -> Row:
    """Without the plugin, op.create_range_partitions() does not exist."""
    if project.plugin_imported:
        return Row("plugin", "ok", f"env.py imports {PLUGIN}")
    fix = f"add to env.py: import {PLUGIN}  # noqa: F401"
    return Row("plugin", "missing", f"env.py does not import {PLUGIN}", fix)


def offline(project: Project) -> Row:
    """What `alembic upgrade --sql` writes is run without env.py: all it needs is in it."""
    if project.offline is None:
        message = "what `alembic upgrade --sql` writes: env.py fails with it"
        fix = "where you need it, run `alembic upgrade head --sql`, which says why"
        return Row("offline", "unknown", message, fix)
    lacks: dict[str, str] = {}
    if not project.offline.transaction_per_migration:
        lacks["one transaction for all migrations"] = f"{EACH} in context.configure()"
    if project.offline.lock_timeout is False:
        lacks["no lock_timeout"] = f"{SET_TIMEOUT} after context.begin_transaction()"
    if not lacks:
        message = "`alembic upgrade --sql` writes a transaction for each migration"
        return Row("offline", "ok", message)
    message = f"`alembic upgrade --sql` writes {', and '.join(lacks)}"
    fix = f"in env.py, where it runs offline, too: {', and '.join(lacks.values())}"
    return Row("offline", "missing", message, fix)


def autogenerate(environment: Environment) -> Row:
    """A plugin that is not listed is silently inactive."""
    listed = environment.autogenerate_plugins
    absent = [name for name in PLUGINS if name not in listed and not _each_of(name, listed)]
    if not absent:
        return Row("autogenerate", "ok", "autogenerate_plugins lists alembic_enterprise.*")
    names = " and ".join(absent)
    fix = f'{CONFIGURE}autogenerate_plugins=["{PLUGINS[0]}", "{PLUGINS[1]}"]'
    message = f"autogenerate_plugins lacks {names}: autogenerate would drop partitions"
    return Row("autogenerate", "missing", message, fix)


def _each_of(pattern: str, listed: Sequence[str]) -> bool:
    """Whether somebody lists plugins one by one."""
    return any(name.startswith(pattern.removesuffix("*")) for name in listed)


def metadata(environment: Environment) -> Row:
    """Autogenerate compares with it."""
    if environment.has_metadata:
        return Row("metadata", "ok", "target_metadata is set")
    fix = "in env.py, import your models and write target_metadata = Base.metadata"
    return Row("metadata", "missing", "target_metadata is None: autogenerate has no models", fix)


def include_schemas(environment: Environment) -> Row:
    """Autogenerate reads the default schema only, unless it is told otherwise."""
    if not environment.unseen_schemas:
        return Row("include_schemas", "ok", "autogenerate reads the schemas of all models")
    message = (
        f"models are in {', '.join(environment.unseen_schemas)}, which autogenerate does not read: "
        "it would create their tables again and again"
    )
    fix = f"{CONFIGURE}include_schemas=True"
    return Row("include_schemas", "missing", message, fix)


def transaction(environment: Environment) -> Row:
    """Alembic leaves a transaction that it did not begin to env.py."""
    if environment.in_transaction is None:
        fix = "report it, with the version of Alembic: env.py could not be watched"
        return Row("transaction", "unknown", "whether env.py opens a transaction", fix)
    if not environment.in_transaction:
        return Row("transaction", "ok", "no transaction is open before the migrations")
    message = (
        "env.py opens a transaction before context.configure(): "
        "operations with CONCURRENTLY would fail"
    )
    return Row("transaction", "missing", message, COMMIT_FIRST)


def per_migration(environment: Environment) -> Row:
    """One transaction for all migrations keeps all their locks to the end."""
    if environment.transaction_per_migration:
        return Row("per_migration", "ok", "each migration has a transaction of its own")
    message = "all migrations share one transaction, and hold their locks to its end"
    return Row("per_migration", "missing", message, f"{CONFIGURE}{EACH}")


VERSION_CHECKS: list[Callable[[Versions], Row]] = [python, alembic, sqlalchemy, psycopg]
"""Checks that need nothing, in the order printed."""

DATABASE_CHECKS: list[Callable[[Facts], Row]] = [
    server,
    lock_timeout,
    defaults,
    clock,
    pooling,
    schemas,
    owners,
    search_path,
]
"""Checks that need a connection only."""

PROJECT_CHECKS: list[Callable[[Project], Row]] = [plugin, offline]
"""Checks that need env.py only."""

ENVIRONMENT_CHECKS: list[Callable[[Environment], Row]] = [
    autogenerate,
    metadata,
    include_schemas,
    transaction,
    per_migration,
]
"""Checks that need env.py and its connection."""
