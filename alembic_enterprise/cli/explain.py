"""`alembic-enterprise explain`: what a rule of `indexes advise` says, and why."""

import inspect
import textwrap

import click

from alembic_enterprise.cli.output import write

COLUMNS = 80


@click.command("explain")
@click.argument("rule", required=False)
def command(rule: str | None) -> None:
    """Explain a rule of `indexes advise`.

    What it looks for, why that matters, what following it costs, and when not to. Without RULE,
    list them all.

    \b
    Examples:
      alembic-enterprise explain
      alembic-enterprise explain foreign-key-without-index
    """  # noqa: D301  # click wants the character \b
    from alembic_enterprise.indexes.rules import RULES  # noqa: PLC0415  # --help stays fast

    if rule is None:
        write("\n".join(line for name in RULES for line in _summary(name, max(map(len, RULES)))))
    elif rule in RULES:
        write(f"{rule}\n\n{explanation(rule)}")
    else:
        from alembic_enterprise.errors import ConfigurationError  # noqa: PLC0415  # as above

        raise ConfigurationError(
            f"no rule is called {rule}: `alembic-enterprise explain` lists them"
        )


def _summary(rule: str, width: int) -> list[str]:
    """The id of a rule, in so many columns, and what it says."""
    indent = " " * (width + 2)
    return textwrap.wrap(f"{rule:<{width}}  {title(rule)}", COLUMNS, subsequent_indent=indent)


def explanation(rule: str) -> str:
    """The docstring of a rule."""
    from alembic_enterprise.indexes.rules import RULES  # noqa: PLC0415  # --help stays fast

    return inspect.getdoc(RULES[rule]) or ""


def title(rule: str) -> str:
    """What a rule says, in a sentence: the first paragraph of its docstring."""
    return " ".join(explanation(rule).partition("\n\n")[0].split())
