"""Where `plan` writes its plan, and in which forms."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import click

from alembic_enterprise.cli.output import write

if TYPE_CHECKING:
    from alembic_enterprise.plan.model import Plan

FORMS = {
    "text": ("alembic_enterprise.cli.plan_text", "text"),
    "json": ("alembic_enterprise.plan.report.document", "document"),
    "markdown": ("alembic_enterprise.plan.report.markdown", "markdown"),
    "sarif": ("alembic_enterprise.plan.report.sarif", "sarif"),
    "github": ("alembic_enterprise.plan.report.github", "annotations"),
    "html": ("alembic_enterprise.plan.report.html", "page"),
}
"""Module and function of each: a pure function of the plan, which gives text or JSON values."""


@dataclass(frozen=True)
class Output:
    """A form of the plan, and the file it is written to; None for standard output."""

    form: str
    file: Path | None = None

    def write(self, plan: "Plan") -> None:
        """Write or print it."""
        module, name = FORMS[self.form]
        made = getattr(import_module(module), name)(plan)
        text = made if isinstance(made, str) else json.dumps(made, indent=2)
        if self.file is None:
            write(text)
            return
        try:
            self.file.write_text(f"{click.unstyle(text)}\n", encoding="utf-8")
        except OSError as error:
            raise click.ClickException(
                f"{self.file}: {error.strerror}: name another file with --format {self.form}=FILE"
            ) from error


def _outputs(
    _context: click.Context, _option: click.Parameter, given: Sequence[str]
) -> Sequence[Output]:
    pairs = [text.partition("=") for text in given or ("text",)]
    if wrong := [form for form, _, _ in pairs if form not in FORMS]:
        raise click.BadParameter(f"{wrong[0]!r} is not one of {', '.join(FORMS)}")
    outputs = [Output(form, Path(file) if file else None) for form, _, file in pairs]
    if sum(output.file is None for output in outputs) > 1:
        raise click.BadParameter("only one form can be printed: write the others with FORMAT=FILE")
    return outputs


outputs_option = click.option(
    "--format",
    "outputs",
    multiple=True,
    callback=_outputs,
    metavar="FORMAT[=FILE]",
    help="How to print the plan, or with FILE to write it: text, json, markdown, sarif, github, "
    "html; may be repeated.  [default: text]",
)
