"""Change numbers of OpenLDAP (``entryCSN``): ``20260615120000.123456Z#000000#001#000000``.

Time of the change by the clock of the server where it was made, a count within it, that server's number, a count
within the operation. Servers compare them as text (CSNOrderingMatch), and so does this module.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

CHANGE_NUMBER, ENTRY_NAME = "entryCSN", "entryUUID"
"""RFC 4530 for the second; the first is OpenLDAP's. Every entry has one value of each."""
_FIELDS = 4
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_LATEST = 253_000_000_000.0
"""Seconds since the epoch, in the year 9987: a year has four digits."""


def originator(number: str) -> str:
    """Return the number of the server where a change was made; of what is no change number, nothing."""
    fields = number.split("#")
    return fields[2] if len(fields) == _FIELDS else ""


def moment(number: str) -> float:
    """Return when a change was made, in seconds since the epoch, by the clock of the server where it was made.

    Raises:
        ValueError: it is no change number.
    """
    made = datetime.strptime(number[:14], "%Y%m%d%H%M%S").replace(tzinfo=timezone.utc)
    fraction = number[14:].partition("Z")[0].lstrip(".")
    return made.timestamp() + (float(f"0.{fraction}") if fraction.isdigit() else 0.0)


def number_at(seconds: float) -> str:
    """Return the smallest change number of a moment, in seconds since the epoch."""
    made = _EPOCH + timedelta(seconds=min(max(0.0, seconds), _LATEST))
    return f"{made:%Y%m%d%H%M%S}.{made.microsecond:06d}Z#000000#000#000000"


def earlier(number: str, seconds: float) -> str:
    """Return the smallest change number of so many seconds before another one."""
    return number_at(moment(number) - seconds)
