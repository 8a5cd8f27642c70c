"""Texts that somebody has looked at and accepted: the files in `golden/`."""

from pathlib import Path

FOLDER = Path(__file__).parent / "golden"


def golden(name: str, text: str) -> None:
    """Compare a text with its file.

    To accept a change: delete the file, which is written when it is not there, and run this once;
    then review the difference.
    """
    file = FOLDER / name
    if not file.exists():
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")
