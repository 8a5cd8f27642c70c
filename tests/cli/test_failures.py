"""Passwords are hidden wherever they stand."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as some
from sqlalchemy.exc import ProgrammingError

from alembic_enterprise.cli.failures import CONNECT, explained, redacted


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("at postgresql://me:secret@h/d now", "at postgresql://me:***@h/d now"),
        ("postgresql://me:se:cr@et/x@h/d", "postgresql://me:***@h/d"),
        ("postgresql://:secret@h", "postgresql://:***@h"),
        ("postgresql://me@h/d", "postgresql://me@h/d"),
        ("?user=me&password=secret&sslmode=on", "?user=me&password=***&sslmode=on"),
        ("host=h password='my secret' user=me", "host=h password=*** user=me"),
        ("{'password': 'my secret', 'host': 'h'}", "{'password': ***, 'host': 'h'}"),
        ("PGPASSWORD=secret", "PGPASSWORD=***"),
        ("?sslpassword=secret", "?sslpassword=***"),
        (
            'password authentication failed for user "me"',
            'password authentication failed for user "me"',
        ),
        (
            "postgresql://user:password@host:5432/database",
            "postgresql://user:password@host:5432/database",
        ),
    ],
)
def test_a_password_is_known_by_its_place(text: str, expected: str) -> None:
    assert redacted(text) == expected


@pytest.mark.parametrize(
    ("source", "text", "expected"),
    [
        ("postgresql://me:s3cret@h/d", "no host s3cret", "no host ***"),
        ("postgresql://me:s%40cret@h/d", "no host s@cret", "no host ***"),
        ("postgresql://me:s@cret@h/d", "no host cret@h", "no host ***h"),
        ("postgresql://me:my s3cret@h/d", "refused my s3cret", "refused ***"),
        ("postgresql://h/d?password=s%2Bcret", "refused s+cret", "refused ***"),
        ("postgresql://me:me@h/d", "no role me", "no role me"),
        ("postgresql://me:post@h/d", "no postgresql post", "no postgresql ***"),
    ],
)
def test_a_password_of_the_configuration_is_hidden_anywhere(
    source: str, text: str, expected: str
) -> None:
    assert redacted(text, [source]) == expected


@given(some.text("aZ9é字@:/?#%&+'\" ", min_size=8), some.sampled_from("?#/@:% "))
def test_no_url_that_is_well_formed_gives_its_password_away(password: str, mark: str) -> None:
    secret = f"{password}{mark}7-x"
    text = f"postgresql://me:{quote(secret, safe='')}@h:1/d"
    assert redacted(f"cannot open {text}") == "cannot open postgresql://me:***@h:1/d"
    assert secret not in redacted(f"bad word {secret}!", [text])


def test_what_asyncpg_says_goes_without_the_name_of_its_class() -> None:
    """SQLAlchemy 2.0 wraps it so."""
    said = "permission denied for table orders"
    wrapper = Exception(f"<class 'asyncpg.exceptions.InsufficientPrivilegeError'>: {said}")
    wrapper.__cause__ = Exception(said)
    assert explained(ProgrammingError("SELECT", (), wrapper)) == (f"{said}. {CONNECT}")
