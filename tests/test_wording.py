"""How names and figures are written for people, and read from them."""

import pytest

from alembic_enterprise.wording import bytes_of


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("500", 500),
        ("500B", 500),
        ("500 kB", 500 * 1024),
        (" 10mb ", 10 * 1024**2),
        ("2GB", 2 * 1024**3),
        ("1Tb", 1024**4),
        ("", None),
        ("kB", None),
        ("-1", None),
        ("1.5GB", None),
        ("10 apples", None),
        ("2GB2", None),
    ],
)
def test_a_size_is_read_with_or_without_its_unit(text: str, expected: int | None) -> None:
    assert bytes_of(text) == expected
