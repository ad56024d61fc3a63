"""How copies have ended, as the audit tells it: found by token, whatever the state still knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeGuard

from ldapmilter.audit.reading import BAD_STREAM, files_of, object_on, opened
from ldapmilter.audit.shape import conforms, shape_of
from ldapmilter.relay.ends import EVENT, EndLine, end_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

_START: Final = f'{{"event":"{EVENT}",'.encode("ascii")
_MOST_OCTETS: Final = 1024 * 1024
_SHAPE: Final = shape_of(EndLine)
_ADDED: Final = frozenset({"takes_back", "other_message_id"})


def ends_of(audit: Path, tokens: Collection[str]) -> dict[str, list[EndLine]]:
    """Return how copies have ended, in order of time; a token that nothing is told of is left out.

    What cannot be read is left out: the search that found the tokens went through the same files, and told.

    Args:
        audit: the file that the daemon writes; its rotated siblings are read as well.
        tokens: of the copies.

    Raises:
        AuditError: there is no audit file, or its directory cannot be read.
    """
    found: dict[str, dict[tuple[str, str], EndLine]] = {}
    taken_back: set[tuple[str, str]] = set()
    for line in _lines(audit):
        value = object_on(line)
        if not _is_end(value) or value["token"] not in tokens:
            continue
        if (other := value.get("takes_back")) is not None:
            taken_back.add((value["token"], other))
        else:
            found.setdefault(value["token"], {})[value["time"], value["state"]] = value
    ordered = {}
    for token, ends in found.items():
        if left := [end for end in ends.values() if (token, end["time"]) not in taken_back]:
            ordered[token] = sorted(left, key=lambda end: end["time"])
    return ordered


def _is_end(value: object) -> TypeGuard[EndLine]:
    return isinstance(value, dict) and end_of(value) is not None and conforms(value, _SHAPE, _ADDED)


def _lines(audit: Path) -> Iterator[bytes]:
    """Yield the lines about copies; one may come twice where a file is rotated meanwhile."""
    for name in files_of(audit):
        try:
            with opened(name, audit) as stream:
                while line := stream.lines.readline(_MOST_OCTETS):
                    if line.startswith(_START):
                        yield line
        except BAD_STREAM:
            continue
