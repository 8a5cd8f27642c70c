"""The story of the sample project, told in the terminal by `make demo`.

It happens in a temporary copy of this folder, on a PostgreSQL server of its own; both are gone
afterwards, also after Ctrl-C. The exit code is 0 only when everything went as told.
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from difflib import unified_diff
from pathlib import Path
from tempfile import TemporaryDirectory

from psycopg.sql import SQL, Identifier, Literal
from sqlalchemy import NullPool, create_engine

from alembic_enterprise import sql
from alembic_enterprise.errors import ServerError
from alembic_enterprise.server import temporary_server

SAMPLE = Path(__file__).resolve().parent
WIDTH = 80

COLUMN = """\
    note: Mapped[str | None]
    discount: Mapped[Decimal | None]
"""
"""A new column of orders, below the one that is there."""

PAYMENT = '''

class Payment(Base):
    """Money that came in; one partition a month, two years of them kept."""

    __tablename__ = "payments"
    __table_args__ = (
        ForeignKeyConstraint(
            ["order_id", "order_created_at"],
            ["orders.id", "orders.created_at"],
        ),
        RangePartitions("received_at", every="month", retain=24),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    received_at: Mapped[datetime] = mapped_column(primary_key=True)
    amount: Mapped[Decimal]
    order_id: Mapped[int]
    order_created_at: Mapped[datetime]
    order: Mapped[Order] = relationship()
'''
"""A new table in partitions."""

SELL = '''\
"""Sell something in this month and in the next two."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from alembic.config import Config
from sqlalchemy import create_engine, literal_column, select
from sqlalchemy.orm import Session

from shop.models import Customer, Order, Payment

url = Config("alembic.ini").get_main_option("sqlalchemy.url")
first = datetime.now(UTC).replace(day=1)
days = [first + timedelta(days=32 * month) for month in range(3)]
place = literal_column("tableoid::regclass")

with Session(create_engine(url)) as session:
    ada = Customer(email="ada@example.org", name="Ada")
    for day in days:
        order = Order(customer=ada, created_at=day)
        session.add(Payment(order=order, received_at=day, amount=Decimal(9)))
    session.commit()
    for key in (Order.created_at, Payment.received_at):
        for at, partition in session.execute(select(key, place).order_by(key)):
            print(at.date(), "is in", partition)
'''
"""Inserts rows through the ORM, and asks the server where they are."""


class UnexpectedError(Exception):
    """Something was not as the story tells it."""


def main() -> int:
    """Tell the story and return the exit code."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with TemporaryDirectory(prefix="shop-") as folder, temporary_server() as server:
            tell(Path(folder), server.url())
    except KeyboardInterrupt:
        show("\nInterrupted. The server is stopped and everything is removed.")
        return 130
    except (UnexpectedError, ServerError) as error:
        show(f"\n{error}")
        return 1
    explain("The server is stopped and everything is removed.")
    return 0


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def tell(folder: Path, url: str) -> None:
    """Tell the story in an empty folder, on an empty database."""
    project = copy_project(folder / "shop", url)
    explain("A PostgreSQL server is up, with an empty database for a small shop.")

    title("The committed migrations make its tables")
    run(project, "alembic upgrade head", expect="Eight shards of order lines")
    explain(
        "Order lines are in eight shards. Orders are in partitions by the month and events by the "
        "week, from the first one on through three periods after today, whatever day it is:"
    )
    run(project, "alembic-enterprise partitions list", expect="orders")

    title("The models change")
    explain("Orders get a column, and payments a table in partitions:")
    change_models(project / "shop" / "models.py")
    command = "alembic revision --autogenerate -m 'Payments by the month'"
    run(project, command, expect="Detected added table 'payments'")
    explain("This is the script. Nothing in it drops a partition:")
    show_script(project)
    run(project, "alembic upgrade head", expect="Payments by the month")

    title("Rows go to the partition of their month")
    show_file(project / "sell.py", SELL)
    routed = run(project, "python sell.py", expect="payments_y")
    require(all(map(is_routed, routed)), "a row is in a wrong partition")

    title("Autogenerate has nothing left to do")
    run(project, "alembic check", expect="No new upgrade operations detected.")

    title("A downgrade does not drop rows")
    run(project, "alembic downgrade -1", expect="holds 1 row", code=255)
    run(project, "alembic current", expect="(head)")
    explain("The database is as it was before. This is what it holds now:")
    run(project, "alembic-enterprise partitions list", expect="payments")

    title("A month passes")
    explain("Let the database believe so. Now partitions are due:")
    pretend(url, datetime.now(UTC) + timedelta(days=31))
    run(project, "alembic-enterprise partitions check", expect="payments", code=3)
    explain("The job that runs every day creates them, and stops nobody:")
    run(project, "alembic-enterprise partitions maintain", expect="created")
    run(project, "alembic-enterprise partitions check", expect="Every policy is satisfied.")
    explain("Autogenerate knows them, whoever made them:")
    run(project, "alembic check", expect="No new upgrade operations detected.")


def copy_project(project: Path, url: str) -> Path:
    """Copy the sample project, with the URL of the server in its alembic.ini."""
    shutil.copytree(SAMPLE, project, ignore=shutil.ignore_patterns("__pycache__", "demo.py"))
    settings = project / "alembic.ini"
    line = f"sqlalchemy.url = {url}".replace("%", "%%")
    text = re.sub(r"(?m)^sqlalchemy\.url = .*$", lambda _: line, settings.read_text())
    settings.write_text(text)
    return project


def change_models(models: Path) -> None:
    """Write the column and the table into the models, and show the difference."""
    before = models.read_text()
    after = before.replace(COLUMN.splitlines(keepends=True)[0], COLUMN) + PAYMENT
    require(after.count(COLUMN) == 1, f"{models} has no orders.note to stand below")
    models.write_text(after)
    lines = unified_diff(
        *(before.splitlines(), after.splitlines()),
        *("shop/models.py", "shop/models.py"),
        n=1,
        lineterm="",
    )
    for line in list(lines)[2:]:
        show(line, _GREEN if line.startswith("+") else "")
    show()


def show_script(project: Path) -> None:
    """Show what autogenerate wrote."""
    (script,) = (project / "migrations" / "versions").glob("*_payments_by_the_month.py")
    text = script.read_text()
    begin, end = text.index("def upgrade"), text.index("def downgrade")
    show(text[begin:])
    show()
    require("op.drop" not in text[begin:end], f"{script.name} drops something")


def show_file(path: Path, text: str) -> None:
    """Write a file, and show it."""
    path.write_text(text)
    show(f"$ cat {path.name}", _BOLD)
    show(text)
    show()


def is_routed(line: str) -> bool:
    """Whether a row, as sell.py prints it, is in the partition of its month."""
    year, month = line.split("-")[:2]
    return line.endswith(f"_y{year}_m{month}")


def pretend(url: str, now: datetime) -> None:
    """Let each new session on a database believe that it is `now` (aware), and show how."""
    engine = create_engine(url, poolclass=NullPool)
    statement = SQL("ALTER DATABASE {} SET alembic_enterprise.now = {}").format(
        Identifier(str(engine.url.database)), Literal(f"{now:%Y-%m-%d %H:%M}+00")
    )
    show(f"=> {sql.text_of(statement)}", _BOLD)
    show()
    with engine.begin() as connection:
        sql.execute(connection, statement)


def run(project: Path, command: str, *, expect: str = "", code: int = 0) -> list[str]:
    """Show a command and what it prints, and return that.

    Raises `UnexpectedError` unless it prints the expected text and ends with the exit code.
    """
    show(f"$ {command}", _BOLD)
    lines: list[str] = []
    with subprocess.Popen(
        shlex.split(command),
        cwd=project,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        for line in process.stdout or ():
            lines.append(line.rstrip())
            show(lines[-1])
    show()
    ended = process.returncode
    require(ended == code, f"`{command}` ended with exit code {ended}")
    require(expect in "\n".join(lines), f"`{command}` did not print {expect!r}")
    return lines


def environment() -> dict[str, str]:
    """Ours, but commands are those beside the running Python, and lines have 80 columns.

    Variables of PostgreSQL would make its clients look for another server.
    """
    beside = os.path.dirname(sys.executable)  # noqa: PTH120  # a link to Python is not followed
    path = os.pathsep.join([beside, os.environ.get("PATH", os.defpath)])
    ours = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return ours | {"PATH": path, "COLUMNS": str(WIDTH)}


def require(condition: bool, message: str) -> None:
    """Raise `UnexpectedError` unless all is as told."""
    if not condition:
        raise UnexpectedError(f"This is not as told: {message}.")


_BOLD, _GREEN, _CYAN = "1", "32", "36"


def title(text: str) -> None:
    """Show a headline."""
    show(f"--- {text} ".ljust(WIDTH, "-"), _CYAN)
    show()


def explain(text: str) -> None:
    """Show a sentence of the story."""
    show(textwrap.fill(text, WIDTH))
    show()


def show(text: str = "", color: str = "") -> None:
    """Show lines, folded to the width of the terminal; in color only on a terminal."""
    fold: Callable[[str], list[str]] = folded
    for line in (part for whole in text.splitlines() or [""] for part in fold(whole)):
        colored = color and sys.stdout.isatty() and "NO_COLOR" not in os.environ
        print(f"\033[{color}m{line}\033[0m" if colored else line, flush=True)


def folded(line: str) -> list[str]:
    """A line as lines that fit, the rest indented below the first."""
    if len(line) <= WIDTH:
        return [line]
    indent = " " * (len(line) - len(line.lstrip()) + 4)
    options = {"subsequent_indent": indent, "break_on_hyphens": False}
    return textwrap.wrap(line, WIDTH, **options)  # type: ignore[arg-type]  # of two kinds


if __name__ == "__main__":
    sys.exit(main())
