"""What a statement says, as far as its words show: who may read it, and what it does to rows.

A reviewer reads statements, and never a row's value or a password.
"""

import re
from dataclasses import replace
from functools import lru_cache

from alembic_enterprise.plan.schema.objects import SECRET
from alembic_enterprise.plan.shadow.statements import Statement, statements

REDACTED = "..."
"""Stands in the place of a literal."""

_SILENT = {"SET", "RESET", "SHOW", "SAVEPOINT", "RELEASE", "LISTEN", "UNLISTEN", "NOTIFY"}
_BEGINS = {"BEGIN", "START"}
_ENDS = {"COMMIT", "END", "ROLLBACK", "ABORT"}
_QUERIES = {("SELECT",), ("VALUES",), ("TABLE",), ("EXPLAIN",), ("WITH",)}
_BLOCKS = {("DO",), ("CALL",)}
_WRITES = {"INSERT", "UPDATE", "DELETE", "MERGE", "COPY", "TRUNCATE"}
_TAKES = {"UPDATE", "DELETE", "MERGE", "TRUNCATE"}
_DEFINES = {
    *("CREATE", "ALTER", "DROP", "COMMENT", "GRANT", "REVOKE", "REASSIGN", "SECURITY", "LOCK"),
    *("REFRESH", "REINDEX", "VACUUM", "ANALYZE", "CLUSTER", "TRUNCATE"),
}
_WITH_SECRETS = {"ROLE", "USER", "GROUP", "SERVER", "SUBSCRIPTION", "SYSTEM", "FOREIGN", "DATABASE"}
_CALLS = {"PERFORM", "CALL"}

_PIECE = re.compile(
    r"""
      (?P<kept> --[^\n]* | /\*.*?\*/ | "(?:[^"]|"")*" | \$\d+ | (?![eE]')[^\W\d][\w$]* )
    | (?P<literal> [eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*'
                 | \$(?P<tag>(?:[^\W\d]\w*)?)\$(?P<body>.*?)\$(?P=tag)\$ | \d[\w.]* )
    """,
    re.VERBOSE | re.DOTALL,
)
_RIGHTS = re.compile(
    r"(?:GRANT|REVOKE)\b.*?\bON\s+(?:TABLE\s+)?(.*?)\s+(?:TO|FROM)\s", re.IGNORECASE | re.DOTALL
)
_ROWS = re.compile(r"\bTABLE\b.*\bAS\s*\(*\s*(SELECT|VALUES|WITH|TABLE|EXECUTE)\b", re.DOTALL)
_DROPS = re.compile(
    r"\bALTER\s+TABLE\b.*?"
    r"(\bDROP\s+(?!CONSTRAINT|DEFAULT|NOT\b|EXPRESSION|IDENTITY)|\bTYPE\b|\bALTER\b[^,]*\bRESTART\b)"
    r"|\bALTER\s+SEQUENCE\b.*\bRESTART\b|\bDROP\s+SEQUENCE\b"
    r"|\bALTER\s+TYPE\b.*\bDROP\s+ATTRIBUTE\b|\bON\s+CONFLICT\b.*\bDO\s+UPDATE\b",
    re.DOTALL,
)
_MAY_TAKE = {"ALTER", "DROP", "INSERT"}
_SETVAL = re.compile(r"\bSETVAL\s*\(")
_IN_BLOCK = re.compile(
    r"\b(DELETE\s+FROM|MERGE\s+INTO|UPDATE\b[^;]*?\bSET|SETVAL|DROP\s+SEQUENCE"
    r"|ALTER\s+SEQUENCE\b[^;]*?\bRESTART)\b",
    re.IGNORECASE,
)
_CALLED = re.compile(r'(?:"((?:[^"]|"")+)"|([^\W\d][\w$]*))\s*\(')
_MORE_ROWS = re.compile(
    r"(\bVALUES\s*{row})(?:\s*,\s*{row})+".format(row=r"\((?:[^()]|\([^()]*\))*\)"), re.IGNORECASE
)
_NAME = re.compile(r'"((?:[^"]|"")+)"|([^\W\d][\w$]*)')
_WORD = re.compile(r"[^\W\d]\w*")


def is_silent(statement: str) -> bool:
    """Whether it does nothing to relations, whatever it says."""
    return all(first in _SILENT | _BEGINS | _ENDS for first in _firsts(statement))


def begins_transaction(statement: str) -> bool:
    """Whether it begins a transaction."""
    return not _BEGINS.isdisjoint(_firsts(statement))


def ends_transaction(statement: str) -> bool:
    """Whether it ends a transaction, or goes back in it."""
    return not _ENDS.isdisjoint(_firsts(statement))


def goes_back(statement: str) -> bool:
    """Whether it goes back to a savepoint."""
    return any("ROLLBACK" in item.words and "TO" in item.words for item in _each(statement))


def is_block(statement: str) -> bool:
    """Whether it is a CALL or DO: its first word does not show what it does, or that it commits."""
    return any(item.words[:1] in _BLOCKS for item in _each(statement))


def is_query(statement: str) -> bool:
    """Whether it asks for rows, and writes none but by functions it calls."""
    return all(
        item.words[:1] in _QUERIES and not _WRITES & set(_words(_bare(item.text)))
        for item in _each(statement)
    )


def takes_rows(statement: str) -> bool:
    """Whether values are gone that were in rows: by UPDATE, DELETE, a dropped or another column.

    The state of a sequence is such a value. Tables that are dropped or truncated are seen without
    it.
    """
    return any(map(_takes_rows, _each(statement)))


def truncated(statement: str) -> set[str]:
    """All that may be the name of a table in TRUNCATE, without schemas."""
    return {
        name
        for item in _each(statement)
        if item.words[0] == "TRUNCATE"
        for name in named(item.text)
    }


def called(statement: str) -> set[str]:
    """All that may be the name of a function that a query, CALL or DO calls, without schemas."""
    asking = (item for item in _each(statement) if item.words[:1] in _QUERIES | _BLOCKS)
    found = [match for item in asking for match in _CALLED.findall(item.text)]
    return {quoted.replace('""', '"') or plain.lower() for quoted, plain in found}


def named(statement: str) -> set[str]:
    """All that may be the name of a relation in a statement, without schemas."""
    found = _NAME.findall(statement)
    return {quoted.replace('""', '"') or plain.lower() for quoted, plain in found}


def rights(statement: str) -> list[str]:
    """What each GRANT or REVOKE is on: "orders, lines", or "ALL TABLES IN SCHEMA public"."""
    found = (_RIGHTS.match(item.text) for item in _each(statement))
    return [match[1] for match in found if match is not None]


def readable(statement: str) -> str:
    """The statement as a reviewer may read it: without values of rows, and without passwords.

    Literals stay where they define something: a default, a constraint, the bounds of a partition.
    Comments, which may quote anything, are left out.
    """
    return ";\n".join(_readable(item).strip() for item in _each(_uncommented(statement)))


# A statement is asked about several times in a row.
@lru_cache(maxsize=4)
def _each(text: str) -> tuple[Statement, ...]:
    """The statements of a text, which may be several, without semicolons."""
    found = (
        replace(item, text=item.text.rstrip(";\n ")) for item in statements(f"{text.strip()}\n;")
    )
    return tuple(item for item in found if item.words)


def _firsts(text: str) -> list[str]:
    return [item.words[0] for item in _each(text)]


def _readable(statement: Statement) -> str:
    first, *rest = statement.words
    if first == "DO":
        return _PIECE.sub(_block, statement.text)
    if (
        first in _DEFINES
        and not _WITH_SECRETS & set(rest[:3])
        and not SECRET.search(statement.text)
        and not _ROWS.search(_bare(statement.text))
    ):
        return statement.text
    return _MORE_ROWS.sub(rf"\1, {REDACTED}", _redacted(statement.text))


def _block(piece: re.Match[str]) -> str:
    """A piece of a DO block: of a body that writes rows, the literals are left out."""
    if piece["literal"] is None:
        return piece[0]
    tag, body = piece["tag"], piece["body"]
    if body is None:
        return REDACTED if _says_rows(piece[0]) else piece[0]
    shown = _uncommented(body)
    return f"${tag}${_redacted(shown) if _says_rows(body) else shown}${tag}$"


def _says_rows(text: str) -> bool:
    return bool((_WRITES | _WITH_SECRETS | _CALLS) & set(_words(text)) or SECRET.search(text))


def _uncommented(text: str) -> str:
    return _PIECE.sub(lambda piece: "" if piece[0].startswith(("--", "/*")) else piece[0], text)


def _redacted(text: str) -> str:
    return _PIECE.sub(lambda piece: piece["kept"] or REDACTED, text)


def _takes_rows(statement: Statement) -> bool:
    first, bare = statement.words[0], _bare(statement.text)
    if _SETVAL.search(bare):
        return True
    if first == "DO":
        return _IN_BLOCK.search(statement.text) is not None
    if first == "WITH":
        return bool(_TAKES & set(_words(bare)))  # of ON CONFLICT as well
    return first in _TAKES or (first in _MAY_TAKE and bool(_DROPS.search(bare)))


def _bare(statement: str) -> str:
    """The statement in capitals, without literals, comments and quoted names."""
    kept = _PIECE.sub(lambda piece: _plain(piece["kept"] or ""), statement)
    return kept.upper()


def _plain(kept: str) -> str:
    return "x" if kept.startswith(('"', "--", "/*")) else kept


def _words(text: str) -> list[str]:
    return [word.upper() for word in _WORD.findall(text)]
