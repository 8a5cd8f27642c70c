"""What models and applications import from the package itself."""

import subprocess
import sys

import pytest

import alembic_enterprise


def test_its_names_load_neither_alembic_nor_click_nor_a_driver() -> None:
    code = (
        "import sys; from alembic_enterprise import *; import alembic_enterprise; "
        "assert {*alembic_enterprise.__all__} <= {*globals()}; "
        "print([name for name in ('alembic', 'click', 'psycopg') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


def test_importing_it_alone_does_not_load_sqlalchemy() -> None:
    code = "import sys, alembic_enterprise; print('sqlalchemy' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"


EVERY_MODULE_BUT_THE_PLUGIN = """
from importlib import import_module
from pkgutil import walk_packages
from alembic.autogenerate import renderers
from alembic.operations import Operations
import alembic_enterprise
before = {*renderers._registry, *dir(Operations)}
for module in walk_packages(alembic_enterprise.__path__, "alembic_enterprise."):
    if module.name != "alembic_enterprise.plugin":
        import_module(module.name)
print({*renderers._registry, *dir(Operations)} - before)
"""


def test_importing_a_module_registers_nothing_with_alembic() -> None:
    """`plugin` alone does, in one list."""
    code = EVERY_MODULE_BUT_THE_PLUGIN
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"


@pytest.mark.parametrize("name", alembic_enterprise.__all__)
def test_a_name_is_that_of_what_it_stands_for(name: str) -> None:
    assert getattr(alembic_enterprise, name).__name__ == name


def test_another_name_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="module 'alembic_enterprise' has no attribute 'Nope'"):
        _ = alembic_enterprise.Nope
