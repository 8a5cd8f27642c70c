"""`alembic-enterprise explain`: what a rule of `plan`, `advise` or `check` says, and why."""

import inspect
import textwrap
from collections.abc import Iterator, Mapping
from itertools import chain

import click

from alembic_enterprise.cli.output import write

COLUMNS = 80


@click.command("explain")
@click.argument("rule", required=False)
def command(rule: str | None) -> None:
    """Explain a rule of `plan`, `indexes advise` or a `check`.

    What it looks for, why that matters, what following it costs, and when not to. Without RULE,
    list them all.

    \b
    Examples:
      alembic-enterprise explain
      alembic-enterprise explain foreign-key-without-index
      alembic-enterprise explain blocks-while-scanning
    """  # noqa: D301  # click wants the character \b
    if rule is not None:
        write(f"{rule}\n\n{explanation(rule)}")
        return
    names = dict.fromkeys(name for told in _explanations() for name in told)
    width = max(map(len, names))
    write("\n".join(line for name in names for line in _summary(name, width)))


def _summary(rule: str, width: int) -> list[str]:
    """The id of a rule, in so many columns, and what it says."""
    indent = " " * (width + 2)
    return textwrap.wrap(f"{rule:<{width}}  {title(rule)}", COLUMNS, subsequent_indent=indent)


def explanation(rule: str) -> str:
    """What a rule says of itself. Raises `ConfigurationError` when there is none."""
    for told in chain(_explanations(), _reasons()):
        if rule in told:
            return told[rule]
    from alembic_enterprise.errors import ConfigurationError  # noqa: PLC0415  # --help stays fast

    raise ConfigurationError(f"no rule is called {rule}: `alembic-enterprise explain` lists them")


def _explanations() -> Iterator[Mapping[str, str]]:
    """What the rules say, by their ids; each kind is loaded when it is asked for."""
    from alembic_enterprise.indexes.rules import RULES as OF_INDEXES  # noqa: PLC0415  # as above

    yield {name: inspect.getdoc(rule) or "" for name, rule in OF_INDEXES.items()}
    from alembic_enterprise.plan import policy  # noqa: PLC0415  # as above
    from alembic_enterprise.plan.rules import RULES as OF_PLANS  # noqa: PLC0415  # as above

    yield {name: inspect.getdoc(rule) or "" for name, rule in OF_PLANS.items()}
    yield policy.RULES
    from alembic_enterprise.plan import advice  # noqa: PLC0415  # as above

    yield advice.RULES


def _reasons() -> Iterator[Mapping[str, str]]:
    """The same of what a plan mends itself; no policy is of that, so that it is not listed."""
    from alembic_enterprise.plan.proposal import reasons  # noqa: PLC0415  # as above

    yield reasons.RULES


def title(rule: str) -> str:
    """What a rule says, in a sentence: the first paragraph of its docstring."""
    return " ".join(explanation(rule).partition("\n\n")[0].split())
