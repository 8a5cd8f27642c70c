"""The command line: parse, call, print, exit code; it decides nothing.

Modules of commands load what they need when they run, so that `--help` comes at once.
"""

import os
import signal
import sys
import warnings
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import NoReturn

import click

INTERRUPTED = 130
"""What shells report of a program that Ctrl-C ended (128 + SIGINT); SIGTERM does the same."""


class Commands(click.Group):
    """A group that imports the module of a command when it is asked for."""

    table: Mapping[str, tuple[str, str]] = {
        "init": (
            "alembic_enterprise.cli.init",
            "Make an Alembic environment in the new folder DIR.",
        ),
        "doctor": (
            "alembic_enterprise.cli.doctor",
            "Say what is right, and what is missing.",
        ),
        "partitions": (
            "alembic_enterprise.cli.partitions",
            "See how partitioned tables stand, and create what is due.",
        ),
        "shards": (
            "alembic_enterprise.cli.shards",
            "See how sharded tables stand, and split their shards.",
        ),
        "audit": (
            "alembic_enterprise.cli.audit",
            "See what is audited, and who changed what.",
        ),
        "indexes": (
            "alembic_enterprise.cli.indexes",
            "See which indexes are missing, superfluous or broken.",
        ),
        "plan": (
            "alembic_enterprise.cli.plan",
            "Say what the next release would do to the live database.",
        ),
        "apply": (
            "alembic_enterprise.cli.apply",
            "Apply a saved plan, if it still holds.",
        ),
        "verify": (
            "alembic_enterprise.cli.verify",
            "Say whether a saved plan still holds.",
        ),
        "explain": (
            "alembic_enterprise.cli.explain",
            "Explain a rule of `plan`, `indexes advise` or a `check`.",
        ),
        "jobs": (
            "alembic_enterprise.cli.jobs",
            "Print the scheduled job for cron, Kubernetes and others.",
        ),
    }
    """Module and summary of each command: the help of the whole imports none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """In the order in which a project needs them."""
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # click's signature
        """The object named `command` in the module."""
        if cmd_name not in self.table:
            return None
        found: click.Command = import_module(self.table[cmd_name][0]).command
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The same, but of a wrong name it says which one is near: click knows none of ours."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from difflib import get_close_matches  # noqa: PLC0415  # --help stays fast

            near = get_close_matches(args[0], self.table, 1)
            if not near:
                raise
            told = f"{error.message} Did you mean {near[0]!r}?"
            raise click.UsageError(told, error.ctx) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  # click's signature
        """Write the summaries."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in self.table.items()])


@click.command(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
    epilog="""\b
Exit codes:
  0    all is well
  1    an error, or the command line is wrong; of doctor, something is missing
  2    there is something to do, which is printed
  3    it is urgent: partitions end soon, or a plan must not be released
  4    a saved plan is stale
  130  interrupted with Ctrl-C, or by SIGTERM
  141  of audit report, the reader of the output went away
""",
)
@click.version_option(package_name="alembic-enterprise", message="%(prog)s %(version)s")
def commands() -> None:
    """Partitions, and more, for big PostgreSQL tables under Alembic.

    \b
    A new project:
      alembic-enterprise init migrations
      alembic-enterprise doctor
    \b
    An existing one, in the folder of its alembic.ini:
      alembic-enterprise doctor
      alembic-enterprise partitions list
    \b
    Any database:
      alembic-enterprise partitions list --url postgresql://app@db/shop
      alembic-enterprise indexes advise --url postgresql://app@db/shop
    """  # noqa: D301  # click wants the character \b


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and end the process with its exit code."""
    # As the first process of a container, without a handler, it would not hear it at all.
    signal.signal(signal.SIGTERM, _interrupt)
    # In the place of Python's own handler asyncio puts one by which an asynchronous env.py hears
    # Ctrl-C at its next await only; it leaves any other, and one that ignores it must stay.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    given = sys.argv[1:] if arguments is None else list(arguments)
    sys.exit(_run(given))


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _run(arguments: Sequence[str]) -> int:
    try:
        with _warned(arguments):
            code = commands.main(
                list(arguments),
                prog_name="alembic-enterprise",
                standalone_mode=False,
                color=False if os.environ.get("NO_COLOR") else None,
            )
    except click.Abort as abort:
        # Click makes it of a KeyboardInterrupt, which may say more, and which 8.1 does not name.
        click.echo(str(abort.__context__ or "") or "Interrupted", err=True)
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001  # the one place where errors are printed
        from alembic_enterprise.cli.failures import report  # noqa: PLC0415  # --help stays fast

        return report(error, arguments)
    return code if isinstance(code, int) else 0


@contextmanager
def _warned(arguments: Sequence[str]) -> Generator[None]:
    """Tell each warning of Python once, in one line of standard error, as errors are printed."""
    told = set[str]()

    def show(message: Warning | str, *_: object, **_more: object) -> None:
        from alembic_enterprise.cli.failures import warn  # noqa: PLC0415  # --help stays fast

        text = " ".join(str(message).split())
        if text not in told:
            told.add(text)
            warn(text, arguments)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield
