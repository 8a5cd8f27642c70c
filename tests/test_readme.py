"""README.md is a story: each of its snippets is run, in order, in a project made from them.

What a fence's first line says after three backticks:

    python shop.py                  the whole of that file of the project
    python migrations/versions      a part of the newest revision
    python migration                run as a migration
    python                          run as a program; a `text` fence after it is what it prints
    diff FILE                       lines to add and to remove there
    console                         commands and what they print; `...` stands for anything
    console sample_project          the same in a copy of the sample project, migrated
    toml                            a part of pyproject.toml that says what is accepted
"""

import os
import re
import shlex
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from tempfile import NamedTemporaryFile

import alembic.command
import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from console import PROGRAM, Outcome
from forked import Run
from markdown_it import MarkdownIt
from psycopg.sql import SQL, Identifier, Literal
from shops import configured
from sqlalchemy import Engine

import alembic_enterprise.plugin  # noqa: F401  # registers the operations
from alembic_enterprise import sql
from alembic_enterprise.plan.accepted import Accepted, declared
from alembic_enterprise.plan.settings import RULE_IDS
from demo import copy_project

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
URL = "postgresql+psycopg://user:password@localhost/shop"
NOW = "2026-11-21 12:00+00"
PRETENDED = re.compile(
    r" \(pretended\)|note: now was [-:\d ]+ UTC, as alembic_enterprise.now says.*\n"
)
"""What is said of that, which no reader has set."""
REAL = {"PGOPTIONS": "-c alembic_enterprise.now="}
"""So that `doctor` does not miss the clock."""


@dataclass
class Snippet:
    """A fenced block: its language, the rest of its first line, its text and where it stands."""

    language: str
    info: str
    text: str
    line: int


def snippets() -> list[Snippet]:
    """Every fenced block of the README, in order."""
    fences = [token for token in MarkdownIt().parse(README.read_text()) if token.type == "fence"]
    found: list[Snippet] = []
    for fence in fences:
        language, _, info = fence.info.partition(" ")
        found.append(Snippet(language, info, fence.content, (fence.map or [0])[0] + 1))
    return found


class Project:
    """An Alembic project as `alembic init migrations` makes it, with a database of its own."""

    def __init__(
        self, folder: Path, engine: Engine, other_database: Callable[[], str], run_forked: Run
    ) -> None:
        self.folder = folder
        self.engine = engine
        self.run_forked = run_forked
        self.other_database = other_database
        self.url = engine.url.render_as_string(hide_password=False)
        self.printed = ""
        self.run("alembic init migrations")
        self.replace(
            "alembic.ini", "driver://user:pass@localhost/dbname", self.url.replace("%", "%%")
        )
        models = "from shop import Base\ntarget_metadata = Base.metadata\n"
        self.replace("migrations/env.py", "target_metadata = None\n", models)

    @cached_property
    def sample(self) -> Path:
        """A copy of the sample project, on a database that is migrated."""
        url = self.other_database()
        alembic.command.upgrade(configured(url), "head")
        return copy_project(self.folder / "sample_project", url)

    def run(self, line: str, folder: Path | None = None) -> Outcome:
        """Run a line as a shell would, with the programs that are installed beside Python."""
        folder = folder or self.folder
        path = os.pathsep.join([str(PROGRAM.parent), os.environ.get("PATH", os.defpath)])
        variables = {"PATH": path, "COLUMNS": "80"} | (REAL if "doctor" in line else {})
        with NamedTemporaryFile("r", encoding="utf-8") as output:
            if program := python_program(line):
                streams = [os.devnull, output.name, output.name]
                code = self.run_forked(program, folder, os.environ | variables, streams)
            else:
                shell = ["/bin/sh", "-c", f"exec >>{output.name} 2>&1; {line}"]
                code = subprocess.call(shell, cwd=folder, env=os.environ | variables)
            return Outcome(code, output.read(), "")

    def replace(self, name: str, old: str, new: str) -> None:
        """Replace what stands exactly once in a file."""
        path = self.folder / name
        text = path.read_text()
        assert text.count(old) == 1, f"{name} does not hold, once:\n{old}"
        path.write_text(text.replace(old, new))

    def follow(self, snippet: Snippet) -> None:
        """Do what a snippet says."""
        if snippet.language == "python":
            self._python(snippet)
        elif snippet.language == "diff":
            lines = snippet.text.splitlines(keepends=True)
            before, after = (
                "".join(line[1:] for line in lines if line[0] in marks) for marks in (" -", " +")
            )
            self.replace(snippet.info, before, after)
        elif snippet.language == "console":
            for command, printed in commands(snippet.text):
                folder = self.sample if snippet.info == "sample_project" else self.folder
                self._console(command, printed, folder)
        elif snippet.language == "toml":
            section = tomllib.loads(snippet.text)["tool"]["alembic-enterprise"]
            assert declared(section, RULE_IDS) != Accepted()
        else:
            assert snippet.language == "text"
            assert alike(snippet.text, self.printed), self.printed

    def _python(self, snippet: Snippet) -> None:
        if snippet.info == "migrations/versions":
            scripts = self.folder.glob("migrations/versions/*.py")
            newest = max(scripts, key=lambda path: path.stat().st_mtime_ns).read_text()
            assert snippet.text in newest, newest
        elif snippet.info == "migration":
            migrate(self.engine, snippet.text)
        elif snippet.info:
            (self.folder / snippet.info).write_text(snippet.text)
        else:
            (self.folder / "snippet.py").write_text(snippet.text.replace(URL, self.url))
            self.printed = self.run("python snippet.py").output
            if "Traceback" in self.printed:
                self.printed = self.printed.splitlines()[-1]

    def _console(self, command: str, printed: str, folder: Path) -> None:
        program, *arguments = shlex.split(command)
        if program == "pip":
            assert_installable(arguments)
        elif program == "make":
            assert f"\n{arguments[0]}: " in (ROOT / "Makefile").read_text()
        else:
            result = self.run(command, folder)
            told = PRETENDED.sub("", result.output)
            assert alike(printed, told), f"{command} printed:\n{result.output}"
            fails = re.search(r"FAILED|\d missing|\d findings?\n|\d steps? in \d", printed)
            assert (result.code != 0) == bool(fails)


def python_program(line: str) -> list[str | Path]:
    """The script in Python that a line runs, and its arguments; none where a shell is needed."""
    name, *arguments = shlex.split(line)
    if name == "python":
        return [*arguments]
    if name in {"alembic", "alembic-enterprise"} and ">" not in arguments:
        return [PROGRAM.with_name(name), *arguments]
    return []


def migrate(engine: Engine, code: str) -> None:
    """Run the body of an upgrade as Alembic does."""
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"transaction_per_migration": True})
        with context.begin_transaction(_per_migration=True), Operations.context(context) as op:
            exec(code, {"op": op})  # noqa: S102  # what Alembic does with a migration script


def commands(text: str) -> Iterator[tuple[str, str]]:
    """Each command of a console and what is shown below it."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, printed = part.partition("\n")
        yield command, printed


def alike(shown: str, printed: str) -> bool:
    """Whether text is as the README shows it; lines are wrapped there, and revisions differ."""
    pattern = re.escape(" ".join(shown.split())).replace(re.escape("..."), ".*?")
    pattern = re.sub("(?<![0-9a-f])[0-9a-f]{12}(?![0-9a-f])", "[0-9a-f]{12}", pattern)
    return re.fullmatch(pattern, " ".join(printed.split())) is not None


def assert_installable(arguments: list[str]) -> None:
    """What pip is asked to install from a checkout is this project, with extras it has."""
    known = metadata.metadata("alembic-enterprise").get_all("Provides-Extra") or []
    assert arguments in [["install", "."], *(["install", f".[{extra}]"] for extra in known)]


@pytest.fixture
def project(
    tmp_path: Path, engine: Engine, other_database: Callable[[], str], run_forked: Run
) -> Project:
    with engine.begin() as connection:
        database = Identifier(str(engine.url.database))
        statement = SQL("ALTER DATABASE {} SET alembic_enterprise.now = {}")
        sql.execute(connection, statement.format(database, Literal(NOW)))
    return Project(tmp_path, engine, other_database, run_forked)


def test_every_snippet_is_true(project: Project) -> None:
    for snippet in snippets():
        try:
            project.follow(snippet)
        except AssertionError as error:
            error.add_note(f"README.md, line {snippet.line}")
            raise


def test_contributing_names_files_that_exist() -> None:
    """What stands in backticks there and looks like a path is one."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    paths = re.findall(r"`((?:alembic_enterprise|bench|sample_project|templates|tests)/.*?)`", text)
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []
