"""Names that would be something else in some form: markup, commands, what steers a terminal."""

import json
import re
from html import unescape

import click
import pytest
from markdown_it import MarkdownIt
from markup import elements
from planned import EVIL, hostile

from alembic_enterprise.cli.plan_text import text
from alembic_enterprise.plan.report.document import document
from alembic_enterprise.plan.report.github import annotations
from alembic_enterprise.plan.report.html import page
from alembic_enterprise.plan.report.markdown import markdown
from alembic_enterprise.plan.report.sarif import sarif
from alembic_enterprise.wording import printable

PLAN = hostile()


def steers(text: str) -> list[str]:
    """The characters that no text shows."""
    return [character for character in text if not character.isprintable() and character != "\n"]


def test_nothing_steers_a_terminal() -> None:
    shown = click.unstyle(text(PLAN))
    assert not steers(shown)
    assert "\\x1b[31m" in re.sub(r"\s+", "", shown)
    assert max(map(len, shown.splitlines())) <= 80


def test_the_document_is_ascii_and_says_the_very_same() -> None:
    written = json.dumps(document(PLAN))
    assert written.isascii()
    assert json.loads(written)["steps"][0]["statement"] == EVIL


def test_a_page_has_no_elements_of_theirs() -> None:
    shown = page(PLAN)
    assert not {"script", "img", "a"} & set(elements(shown))
    assert not steers(shown)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in shown


def test_markdown_has_no_elements_of_theirs() -> None:
    written = markdown(PLAN)
    assert not steers(written)
    rendered = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    found = set(elements(rendered.render(written).replace("<br>", "<br />")))
    assert found <= {"h1", "h2", "p", "ul", "li", "strong", "pre", "code", "br"}


def test_markdown_shows_the_very_same() -> None:
    seen = unescape(re.sub(r"<[^>]*>", "", MarkdownIt("commonmark").render(markdown(PLAN))))
    assert seen.replace("\u200b", "").count(printable(EVIL)) > 10


@pytest.mark.parametrize("sign", ["@everyone", "http://x"])
def test_markdown_mentions_nobody_and_links_nowhere(sign: str) -> None:
    """But in code, where GitHub looks for neither."""
    prose = re.sub(r"(?s)(`{3,})(sql|python|diff)\n.*?\n *\1", "", markdown(PLAN))
    assert sign in EVIL
    assert "item" in prose
    assert sign not in prose


def test_each_annotation_is_one_command() -> None:
    lines = annotations(PLAN).split("\n")
    found = [re.fullmatch(r"::(\w+) ((?:\w+=[^:,]*,?)+)::(.*)", line) for line in lines]
    commands = [command for command in found if command is not None]
    assert [command[1] for command in commands] == ["error", "notice", "error", "notice"]
    assert all("title=" in command[2] for command in commands)
    assert "%3A%3Aerror%3A%3Agotcha" in commands[0][2]
    assert not steers("".join(lines))
    assert "%250A::error::percent" in lines[0]


def test_sarif_has_no_links_and_placeholders() -> None:
    log = sarif(PLAN)
    texts = [result["message"]["text"] for result in log["runs"][0]["results"]]
    assert len(texts) == 3
    for said in texts:
        assert not steers(said)
        assert re.search(r"(?<!\\)[\[\]]|(?<!\{)\{(?!\{)", said) is None
