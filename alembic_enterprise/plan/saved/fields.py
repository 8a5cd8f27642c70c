"""Fields of a saved plan as they have to be: somebody may have edited the file."""

from typing import Any


def text(value: Any) -> str:
    """A text. Raises `TypeError` when it is none."""
    found: str = _of(str, value)
    return found


def number(value: Any) -> int:
    """A whole number. Raises `TypeError` when it is none."""
    found: int = _of(int, value)
    return found


def texts(value: Any) -> tuple[str, ...]:
    """A list of texts. Raises `TypeError` when it is none."""
    return tuple(text(item) for item in _of(list, value))


def mapping(value: Any) -> dict[str, str]:
    """Texts by name. Raises `TypeError` when it is no such thing."""
    return {text(name): text(item) for name, item in _of(dict, value).items()}


def _of(kind: type[Any], value: Any) -> Any:
    if type(value) is not kind:  # True is an int, too
        raise TypeError(f"a {kind.__name__} is expected, and not {type(value).__name__}")
    return value
