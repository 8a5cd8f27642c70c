"""What autogenerate would write: found, tried from a folder of its own, and written in the end."""

from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from alembic.autogenerate import RevisionContext
from alembic.autogenerate.api import AutogenContext
from alembic.autogenerate.render import render_op_text
from alembic.config import Config
from alembic.operations import MigrateOperation
from alembic.operations.ops import MigrationScript, OpContainer
from alembic.runtime.migration import MigrationContext
from alembic.script import Script, ScriptDirectory, write_hooks

from alembic_enterprise.environment import guarded, quiet_hooks
from alembic_enterprise.finding import Finding
from alembic_enterprise.indexes import compare as index_compare
from alembic_enterprise.indexes import sizes
from alembic_enterprise.operation import Operation
from alembic_enterprise.plan.proposal.docstring import extended
from alembic_enterprise.plan.proposal.reasons import findings, table_of
from alembic_enterprise.plan.shadow import replay
from alembic_enterprise.revision import writable
from alembic_enterprise.sql import Name


@dataclass(frozen=True)
class Changes:
    """What makes a database that which the models and policies declare.

    Attributes:
        model_changes: calls of Alembic's operations, and of other plugins', as a script has them.
        enterprise: for our operations a finding for each table and reason.
        revision: what Alembic writes the scripts from, more than one where env.py splits them.
    """

    model_changes: tuple[str, ...]
    enterprise: tuple[Finding, ...]
    revision: RevisionContext = field(compare=False)

    def __bool__(self) -> bool:
        return bool(self.model_changes or self.enterprise)


def compared(
    context: MigrationContext,
    message: str = "proposed",
    *,
    unknown: Collection[Name] = (),
    large: Collection[Name] = (),
) -> Changes:
    """What `alembic revision --autogenerate -m MESSAGE` would write for a database at its head.

    The hook `process_revision_directives` of env.py has its say.

    Args:
        context: as env.py has configured it; the connection is only read.
        message: what the script is called.
        unknown: tables that the database lacks, and the live one has; nothing is proposed for them.
        large: tables whose indexes are to be built online, when the database has none of the rows
            that tell: what `large_tables` gives for the live one.

    Raises:
        CommandError: the database is not at its head, env.py gives no models, or these cannot be
            brought about by a migration.
    """
    config, directory = cast("Config", context.config), cast("ScriptDirectory", context.script)
    default = context.dialect.default_schema_name

    def amend(_context: object, _revision: object, directives: list[MigrationScript]) -> None:
        for container in _containers(directives):
            container.ops[:] = [x for x in container.ops if table_of(x, default) not in unknown]
            index_compare.rewrite(container, index_compare.tables(container) & {*large})

    revision = RevisionContext(config, directory, _arguments(message), amend)
    revision.template_args.update(context.opts.get("template_args", {}))
    with _asked_for(config):
        revision.run_autogenerate(context.get_current_heads(), context)
    return _changes(context, revision)


def _changes(context: MigrationContext, revision: RevisionContext) -> Changes:
    found = [
        item
        for script in revision.generated_revisions
        for container in script.upgrade_ops_list
        for item in _leaves(container)
    ]
    rendering = AutogenContext(context, autogenerate=False)
    others = [item for item in found if not isinstance(item, Operation)]
    lines = tuple(render_op_text(rendering, item) for item in others)
    ours = findings(found, context.dialect.default_schema_name)
    return Changes(lines, tuple(ours), revision)


def large_tables(context: MigrationContext) -> set[Name]:
    """The tables of the models whose indexes env.py wants built online, by their size now.

    Raises `OperationError` when its `online_indexes` is no size.
    """
    size = index_compare.threshold(context.opts.get("online_indexes"))
    if size is None or context.connection is None:
        return set()
    tables = AutogenContext(context, autogenerate=False).sorted_tables
    return sizes.larger(context.connection, {Name(x.schema, x.name) for x in tables}, size)


def write_apart(config: Config, changes: Changes, folder: Path) -> tuple[Config, list[Script]]:
    """Write the scripts into a folder that is not the project's, so that Alembic can run them.

    The hooks of the configuration that format new scripts, and the like, do not see them.

    Returns:
        A configuration that has them as well as the scripts of the project; and the scripts.
    """
    extra = copy(config)
    directory = ScriptDirectory.from_config(config)
    places = config.get_version_locations_list() or [str(Path(directory.dir, "versions"))]
    extra.get_version_locations_list = (  # type: ignore[method-assign]  # this instance only
        lambda: [*places, str(folder)]
    )
    within = ScriptDirectory.from_config(extra)
    within.hooks = []
    with _placed(changes.revision.generated_revisions, folder):
        return extra, _generated(within, changes)


def write(config: Config, changes: Changes, summary: str, *, sql: bool = False) -> list[Path]:
    """Write the scripts into the project, as `alembic revision` does.

    Args:
        config: Alembic's configuration of the project.
        changes: what to write.
        summary: what the docstrings say besides, for who reviews them.
        sql: whether a file beside each script gets the SQL of its upgrade; if one cannot be told,
            nothing stays written.

    Returns:
        The files.

    Raises:
        ConfigurationError: a file cannot be written, or the SQL not be told without a database.
        CommandError: what Alembic finds wrong.
    """
    directory = ScriptDirectory.from_config(config)
    # First, so that formatters see all that there is.
    register = cast("Callable[[str], Callable[[Any], Any]]", write_hooks.register)
    register(_SUMMARY)(_summarise)
    hook = {"_hook_name": "summary of the plan", "type": _SUMMARY, "summary": summary}
    directory.hooks = [{**hook, "encoding": directory.output_encoding}, *directory.hooks]
    scripts = _generated(directory, changes)
    paths = [Path(script.path) for script in scripts]
    try:
        for script in scripts if sql else []:
            text = replay.offline(config, [script])
            paths.append(Path(script.path).with_suffix(".sql"))
            with writable():
                paths[-1].write_text(text, encoding="utf-8")
    except BaseException:
        for path in paths:
            path.unlink(missing_ok=True)
        raise
    return paths


_SUMMARY = "alembic_enterprise.summary"
"""What Alembic calls the hook that completes the docstring of a new script."""


def _summarise(path: str, options: Mapping[str, str]) -> None:
    file, encoding = Path(path), options["encoding"]
    text = extended(file.read_text(encoding), options["summary"])
    file.write_text(text, encoding, errors="backslashreplace")


def _generated(directory: ScriptDirectory, changes: Changes) -> list[Script]:
    changes.revision.script_directory = directory
    with guarded(directory), writable(), quiet_hooks():
        return [script for script in changes.revision.generate_scripts() if script is not None]


@contextmanager
def _placed(scripts: Sequence[MigrationScript], folder: Path) -> Generator[None]:
    """Let scripts be written into a folder."""
    before = [script.version_path for script in scripts]
    for script in scripts:
        script.version_path = str(folder)
    try:
        yield
    finally:
        for script, path in zip(scripts, before, strict=True):
            script.version_path = path


def _arguments(message: str) -> dict[str, Any]:
    """What the command line of `alembic revision` would have given."""
    unset = ("branch_label", "version_path", "rev_id", "depends_on")
    given = {"message": message, "autogenerate": True, "sql": False, "head": "head"}
    return {**dict.fromkeys(unset), **given, "splice": False}


@contextmanager
def _asked_for(config: Config) -> Generator[None]:
    """Let hooks of env.py see that this is `--autogenerate`: Alembic's cookbook has them ask."""
    with ExitStack() as undo:
        options = config.cmd_opts
        if options is not None:
            before = vars(options).copy()
            undo.callback(vars(options).update, before)
            undo.callback(vars(options).clear)
            options.autogenerate = True
        yield


def _containers(directives: Sequence[MigrationScript]) -> list[OpContainer]:
    return [
        container
        for script in directives
        for container in (*script.upgrade_ops_list, *script.downgrade_ops_list)
    ]


def _leaves(container: OpContainer) -> Iterator[MigrateOperation]:
    for item in container.ops:
        if isinstance(item, OpContainer):
            yield from _leaves(item)
        else:
            yield item
