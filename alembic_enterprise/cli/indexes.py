"""`alembic-enterprise indexes`: which indexes are missing, in the way or broken."""

import click

from alembic_enterprise.cli.indexes_advise import advise_command


@click.group("indexes")
def command() -> None:
    """See which indexes are missing, superfluous or broken.

    \b
    Examples:
      alembic-enterprise indexes advise
      alembic-enterprise indexes advise orders --write -m "index foreign keys"
    """  # noqa: D301  # click wants the character \b


command.add_command(advise_command)
