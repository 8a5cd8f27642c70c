"""A text is put into the docstring of a script without a change to anything else."""

import ast

import pytest

from alembic_enterprise.plan.proposal.docstring import extended

SCRIPTS = [
    '"""add é\n\nRevises: \n\n"""\nfrom alembic import op\n',
    "'''one''' ; x = 1\n",
    '# a comment\n\nr"""raw \\d"""\n\nx = "é"\n',
    '"one line"\nx = 1\n',
    'x = """not a docstring"""\n',
    "# only a comment\n",
    "",
]
TEXTS = ["one", 'a\n\nb"', '"""', "\\", "\\N{x}\\", '""""""\\"""', "\u202e\0\x1b[31m\r\t", "日 é"]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("script", SCRIPTS)
def test_the_docstring_says_it_at_its_end_and_the_code_stays(script: str, text: str) -> None:
    before, after = ast.parse(script), ast.parse(extended(script, text))
    told = ast.get_docstring(before, clean=False)
    beginning = "" if told is None else f"{told.rstrip()}\n\n"
    assert ast.get_docstring(after, clean=False) == f"{beginning}{text}\n"
    code = after.body[1:]
    assert [*map(ast.dump, code)] == [*map(ast.dump, before.body[told is not None :])]


def test_nothing_in_it_is_hidden() -> None:
    assert extended("", "a\u202eb\x1b[0m\u2066") == '"""a\\u202eb\\x1b[0m\\u2066\n"""\n'


def test_comments_before_the_docstring_stay() -> None:
    assert extended("#!/usr/bin/python\nx = 1\n", "a") == '#!/usr/bin/python\n"""a\n"""\nx = 1\n'
