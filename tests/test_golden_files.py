"""Golden files: written when they are not there, but for CI, where one was lost."""

from pathlib import Path

import golden_files
import pytest
from golden_files import golden


def test_a_missing_file_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(golden_files, "FOLDER", tmp_path)
    monkeypatch.delenv("CI", raising=False)
    golden("new.txt", "accepted\n")
    with pytest.raises(AssertionError):
        golden("new.txt", "another\n")
    assert (tmp_path / "new.txt").read_text(encoding="utf-8") == "accepted\n"


def test_a_missing_file_fails_in_ci(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(golden_files, "FOLDER", tmp_path)
    monkeypatch.setenv("CI", "true")
    with pytest.raises(AssertionError, match=r"lost\.txt is missing: run this without CI"):
        golden("lost.txt", "accepted\n")
    assert not (tmp_path / "lost.txt").exists()
