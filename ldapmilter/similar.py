"""The name that was probably meant by one that does not exist."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_CLOSE = 0.6
"""How alike two names have to be for one to be offered in the other's place (``difflib``)."""


def similar(name: str, names: Iterable[str]) -> str | None:
    """Return the one of the names that is most like another one; ``None``: none is."""
    import difflib  # noqa: PLC0415 - for a mistake only

    return next(iter(difflib.get_close_matches(name.lower(), sorted(names), n=1, cutoff=_CLOSE)), None)


def did_you_mean(near: str | None) -> str:
    """Return the end of a message about a name that does not exist."""
    return f"; did you mean {near}?" if near is not None else ""
