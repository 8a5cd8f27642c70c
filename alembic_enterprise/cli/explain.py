"""`alembic-enterprise explain`: what a rule of `plan`, `advise` or `check` says, and why."""

import inspect
import textwrap
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from itertools import chain

import click

from alembic_enterprise.cli.output import COLUMNS, write


@click.command("explain")
@click.argument("rule", required=False)
def command(rule: str | None) -> None:
    """Explain a rule of `plan`, `indexes advise` or a `check`.

    Says what it looks for, why that matters, what following it costs, and when not to. Of a rule
    of a `check` it says what that looks for: the next step is in the message. Without RULE, lists
    them all.

    \b
    Examples:
      alembic-enterprise explain
      alembic-enterprise explain foreign-key-without-index
      alembic-enterprise explain blocks-while-scanning
    """  # noqa: D301  # click wants the character \b
    if rule is not None:
        write(f"{rule}\n\n{explanation(rule)}")
        return
    groups = dict(_groups())
    width = max(len(name) for told in groups.values() for name in told)
    write("\n\n".join(_listed(name, told, width) for name, told in groups.items()))


def _listed(command: str, told: Mapping[str, str], width: int) -> str:
    """The rules of a command: the id of each, in so many columns, and what it says."""
    indent = " " * (width + 4)
    lines = [click.style(command, bold=True)]
    for rule, text in told.items():
        words = f"  {rule:<{width}}  {_first(text)}"
        lines += textwrap.wrap(words, COLUMNS, subsequent_indent=indent)
    return "\n".join(lines)


def explanation(rule: str) -> str:
    """What a rule says of itself. Raises `ConfigurationError` when there is none."""
    known: list[str] = []
    for told in chain(_explanations(), _reasons()):
        if rule in told:
            return told[rule]
        known += told
    from alembic_enterprise.errors import ConfigurationError  # noqa: PLC0415  # --help stays fast

    near = get_close_matches(rule, dict.fromkeys(known))
    meant = f" (did you mean {' or '.join(near)}?)" if near else ""
    raise ConfigurationError(
        f"no rule is called {rule}{meant}: `alembic-enterprise explain` lists them"
    )


def _groups() -> Iterator[tuple[str, Mapping[str, str]]]:
    """What the rules say, by the command that has them and by their ids."""
    _, of_plans, of_waivers, _ = _explanations()
    yield "plan", {**of_plans, **of_waivers}
    from alembic_enterprise.plan import advice  # noqa: PLC0415  # --help stays fast

    yield from advice.BY_COMMAND.items()


def _explanations() -> Iterator[Mapping[str, str]]:
    """What the rules say, by their ids; each kind is loaded when it is asked for."""
    from alembic_enterprise.indexes.rules import RULES as OF_INDEXES  # noqa: PLC0415  # as above

    yield {name: inspect.getdoc(rule) or "" for name, rule in OF_INDEXES.items()}
    from alembic_enterprise.plan import accepted  # noqa: PLC0415  # as above
    from alembic_enterprise.plan.rules import RULES as OF_PLANS  # noqa: PLC0415  # as above

    yield {name: inspect.getdoc(rule) or "" for name, rule in OF_PLANS.items()}
    yield accepted.EXPLANATIONS
    from alembic_enterprise.plan import advice  # noqa: PLC0415  # as above

    yield advice.EXPLANATIONS


def _reasons() -> Iterator[Mapping[str, str]]:
    """The same of what a plan mends itself; no waiver is of that, so that it is not listed."""
    from alembic_enterprise.plan.proposal import reasons  # noqa: PLC0415  # as above

    yield reasons.EXPLANATIONS


def title(rule: str) -> str:
    """What a rule says, in a sentence: the first paragraph of its docstring."""
    return _first(explanation(rule))


def _first(text: str) -> str:
    return " ".join(text.partition("\n\n")[0].split())
