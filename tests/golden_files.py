"""Texts that somebody has looked at and accepted: the files in `golden/`."""

import os
from pathlib import Path

FOLDER = Path(__file__).parent / "golden"


def golden(name: str, text: str) -> None:
    """Compare a text with its file.

    To accept a change: delete the file, which is written when it is not there, and run this once;
    then review the difference. In CI a file that is not there was lost, and is not written.
    """
    file = FOLDER / name
    if not file.exists():
        assert not os.environ.get("CI"), f"{file} is missing: run this without CI, and commit it"
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")
