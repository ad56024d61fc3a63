"""The one line of a monitoring plugin, and its exit codes."""

from __future__ import annotations

from ldapmilter.plain import plain

OK, WARNING, CRITICAL, UNKNOWN = 0, 1, 2, 3


def line(word: str, text: str, data: str = "") -> str:
    """Return the line: text and performance data are parted by a bar, so there is no other."""
    said = plain(text).replace("|", "/")
    return f"LDAPMILTER {word} - {said}" + (f" | {data}" if data else "")


def unknown(reason: object) -> tuple[int, str]:
    """Return status and line for a check that could not be run."""
    return UNKNOWN, line("UNKNOWN", str(reason))
