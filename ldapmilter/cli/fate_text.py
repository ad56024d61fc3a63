"""How copies have ended, in words and for programs, for ``audit find``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ldapmilter.durations import in_words
from ldapmilter.relay.ends import FATES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ldapmilter.relay.ends import EndLine

_WORDS = {
    "accepted": "accepted",
    "refused": "REFUSED, and kept",
    "kept": "NOT THROUGH in time, and kept",
    "resent": "sent again, and accepted",
    "discarded": "DISCARDED",
    "repeat": "came again, and was not handed on again",
}


def tokens_of(record: Mapping[str, Any]) -> list[str]:
    """Return the tokens of a record's copies; none where all are direct."""
    return [token for copy in record["copies"] if isinstance(token := copy.get("token"), str) and token]


def in_lines(token: str, ends: Sequence[EndLine]) -> Iterator[str]:
    """Yield how a copy has ended, a line each; one line where the audit does not tell."""
    if not ends:
        yield f"fate: not told by the audit: not through yet, or it never came (ldapmilter copies {token})"
    for end in ends:
        words = _WORDS.get(end["state"], end["state"])
        by = f" by {end['server']}" if end["server"] else ""
        to = f" for {end['target']}" if end["state"] == "resent" else ""
        reply = f": {' '.join(filter(None, (str(end['code'] or ''), end['reply'])))}" if end["code"] else ""
        why = f"; {end['why']}" if end["why"] else ""
        other = end.get("other_message_id")  # not in lines of earlier versions
        awaited = f"; ANOTHER MESSAGE, {other}: the one that was decided was still to come" if other is not None else ""
        tries = "1 attempt" if end["attempts"] == 1 else f"{end['attempts']} attempts"
        after = f" ({tries}, {in_words(end['seconds'])} after the decision)" if end["state"] != "repeat" else ""
        yield f"fate: {words} {end['time']}{by}{to}{reply}{why}{awaited}{after}"


def with_ends(record: Mapping[str, Any], ends: Mapping[str, Sequence[EndLine]]) -> dict[str, Any]:
    """Return a record in which each copy with a token has ``fate`` and ``ends``."""
    copies = []
    for copy in record["copies"]:
        told = ends.get(copy.get("token") or "", ())
        fates = [fate for end in told if (fate := FATES.get(end["state"])) is not None]
        has_one = bool(copy.get("token"))
        copies.append({**copy, "fate": fates[-1] if fates else None, "ends": list(told)} if has_one else copy)
    return {**record, "copies": copies}
