"""A plan as a page of its own, which needs nothing from elsewhere and runs no script."""

from html import escape

from alembic_enterprise.plan.model import Plan
from alembic_enterprise.plan.report import charts
from alembic_enterprise.plan.report.sections import (
    Entry,
    Section,
    facts,
    legend,
    sections,
    summary,
    title,
)
from alembic_enterprise.wording import printable

# Whatever a name would smuggle in, the browser loads nothing and runs nothing.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2024; --paper: #fff; --soft: #f2f4f6; --line: #c5ccd3;
  --error: #b3261e; --warning: #8a5a00; --good: #14693a; --note: #1c5fa8; --bar: #3f7fc1; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ec; --paper: #14171a; --soft: #1f2428;
  --line: #475059; --error: #ff8a80; --warning: #f2b84b; --good: #6fd197; --note: #8ab8f5;
  --bar: #5b9bd9; } }
body { color: var(--ink); background: var(--paper); font: 1rem/1.5 system-ui, sans-serif;
  max-width: 64rem; margin: 2rem auto; padding: 0 1rem; overflow-wrap: anywhere; }
h1, h2, h3 { line-height: 1.25; } h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1rem; margin-bottom: .25rem; }
pre { background: var(--soft); padding: .75rem; white-space: pre-wrap; }
.summary { font-weight: 600; } ul { padding-left: 1.25rem; } figure { margin: 1rem 0; }
.mark { border: 1px solid currentColor; border-radius: .25rem; padding: 0 .4rem; }
.error, .FAIL { color: var(--error); } .warning { color: var(--warning); }
.note, .waived, .SKIP { color: var(--note); } .PASS { color: var(--good); }
svg { width: 100%; height: auto; } svg text { fill: var(--ink); font: 12px system-ui, sans-serif; }
.reads { fill: var(--error); } .writes { fill: var(--warning); } .ddl { fill: var(--note); }
.none { fill: var(--line); } .bar, .exists { fill: var(--bar); }
.now { stroke: var(--ink); stroke-width: 2; }
.missing { fill: none; stroke: var(--error); stroke-dasharray: 3 2; }
"""


def page(plan: Plan) -> str:
    """The page."""
    heading = _text(title(plan))
    body = [
        f"<h1>{heading}</h1>",
        f'<p class="summary">{_text(summary(plan))}</p>',
        _list([*facts(plan)]),
        *charts.figures(plan),
        *map(_section, sections(plan)),
        *([f"<h2>Legend</h2>\n{_list(legend(plan))}"] if legend(plan) else []),
    ]
    content = "\n".join(body)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{heading}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"{content}\n</main>\n</body>\n</html>\n"
    )


def _section(section: Section) -> str:
    entries = "\n".join(map(_entry, section.entries))
    return f"<section>\n<h2>{section.heading}</h2>\n{entries}\n</section>"


def _entry(entry: Entry) -> str:
    # A mark is of a fixed set of words and signs.
    mark = f'<span class="mark {entry.mark}">{entry.mark}</span> ' if entry.mark else ""
    head = f"<h3>{mark}{_text(entry.head)}</h3>" if entry.head else ""
    before = [f"<p>{_text(words)}</p>" for words in entry.before]
    code = [f"<pre><code>{_code(text)}</code></pre>" for text in entry.code]
    after = [_list(entry.after)] if entry.after else []
    return "\n".join([*([head] if head else []), *before, *code, *after])


def _list(sentences: "list[str] | tuple[str, ...]") -> str:
    items = "".join(f"\n<li>{_text(sentence)}</li>" for sentence in sentences)
    return f"<ul>{items}\n</ul>"


def _code(text: str) -> str:
    return "\n".join(map(_text, text.split("\n")))


def _text(words: str) -> str:
    return escape(printable(words))
