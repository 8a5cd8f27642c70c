r"""The statements of a script of pg_dump, one by one, each with the object it is about.

What psql would send is what lies between semicolons, but for those in quotes, in parentheses and in
the body of an SQL function (src/fe_utils/psqlscan.l). pg_dump writes a comment before each object.
In a script of Alembic a statement may also end in `\gexec`, and then its rows are run as well.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Statement:
    r"""A statement, up to its semicolon or `\gexec`.

    Attributes:
        about: kind and name of the object, as pg_dump calls them: "TABLE orders"; empty before the
            first one.
        words: the first words of the statement, in capitals.
    """

    text: str
    about: str
    words: tuple[str, ...]


COUNT = 5
"""How many words of a statement are kept."""

# A doubled quote inside of quotes looks like the end of one string and the beginning of the next,
# which comes to the same. A backslash outside of quotes is a command to psql.
_TOKEN = re.compile(
    r"""
      (?P<comment> --[^\n]* | /\*.*?\*/ | \\[^\n]* )
    | (?P<quoted> [eE]'(?:[^'\\]|\\.|'')*' | '[^']*' | "[^"]*"
                | \$(?P<tag>(?:[^\W\d]\w*)?)\$.*?\$(?P=tag)\$ )
    | (?P<word> [^\W\d][\w$]* )
    | (?P<mark> [();] )
    | (?P<rest> \d\w* | \S )
    """,
    re.VERBOSE | re.DOTALL,
)
_ABOUT = re.compile(r"-- Name: (.*); Type: (.*?); Schema: .*; Owner:.*")
_ROUTINE = re.compile(r"CREATE (OR REPLACE )?(FUNCTION|PROCEDURE)\b")


def statements(script: str) -> Iterator[Statement]:
    """The statements of a script, without its comments and psql's commands between them."""
    about, start, words, level = "", None, list[str](), _Level()
    for token in _TOKEN.finditer(script):
        if token["comment"]:
            if start is None and (found := _ABOUT.fullmatch(token[0])):
                about = f"{found[2]} {found[1]}"
            if start is not None and token[0].rstrip() == r"\gexec":
                yield Statement(script[start : token.end()].rstrip(), about, tuple(words))
                start, words, level = None, [], _Level()
            continue
        start = token.start() if start is None else start
        if token["word"] and len(words) < COUNT:
            words.append(token[0].upper())
        level.move(token, words)
        if token[0] == ";" and level.is_top:
            yield Statement(script[start : token.end()], about, tuple(words))
            start, words, level = None, [], _Level()


class _Level:
    """How deep in parentheses, and in the body of an SQL function, a token is."""

    def __init__(self) -> None:
        self._parentheses = 0
        self._blocks = 0

    @property
    def is_top(self) -> bool:
        return not self._parentheses and not self._blocks

    def move(self, token: re.Match[str], words: list[str]) -> None:
        text = token[0].upper()
        if token["mark"]:
            self._parentheses += {"(": 1, ")": -1}.get(text, 0)
        elif token["word"] and not self._parentheses and _ROUTINE.match(" ".join(words)):
            self._blocks += self._change(text)

    def _change(self, word: str) -> int:
        if word == "BEGIN" or (word == "CASE" and self._blocks):
            return 1
        return -1 if word == "END" and self._blocks else 0
