"""Files that ship with the package."""

from pathlib import Path


def templates_directory() -> Path:
    """Return the folder of the templates: inside an installed package, beside it in a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "templates"
    return installed if installed.is_dir() else package.parent / "templates"
