"""The tag of a list in a Subject, on the value as it stands in the header: what is not the tag stays octet for octet.

A tag is looked for at the front only, plain or in encoded words (RFC 2047), among the marks of replies and
forwards that stand there. Encoded words behind the front are not decoded.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ldapmilter.mailbox import encoded_word

_BLANKS = " \t\r\n"
_BLANK_RUN = re.compile(r"[ \t\r\n]*")
_MOST_FRONT = 1000
"""Characters of a Subject that are looked at: who writes more marks in front of one gets another tag."""
_ITEM = re.compile(
    r"\s*(?:(?P<reply>(?:re|aw|sv|vs)(?:\[\d{1,3}\]|\(\d{1,3}\))?\s?:)|(?P<forward>(?:fwd?|wg|tr)\s?:))",
    re.IGNORECASE | re.ASCII,
)
_SOFT_LINE = 76
_FIELD = "Subject: "
# An octet that is not UTF-8 comes as a surrogate. It cannot go back as it is, and says what it is in the charset
# that mail programs take it for.
_RAW_WORD = r"(?<![^ \t\r\n])[^ \t\r\n]*[\udc80-\udcff][^ \t\r\n]*(?:[ \t]+[^ \t\r\n]*[\udc80-\udcff][^ \t\r\n]*)*"
_OCTETS_OF_A_WORD = 12
"""Octets in one encoded word, each of which may take three characters."""


class _Place(NamedTuple):
    """Where a character of the front stands in the header value."""

    start: int
    word: encoded_word.Word | None = None
    skipped: int = 0
    """Characters of the word before it."""


def tagged(value: str, tag: str) -> str | None:
    """Return a Subject with the tag at its front once, behind one mark of a reply; ``None``: it is so already.

    Args:
        value: as it stands in the header: folded, encoded, with surrogates for octets that are not UTF-8.
        tag: such as ``[staff]``.

    Returns:
        text to write as it is, lines parted by LF.
    """
    raw = value.replace("\r\n", "\n").strip(_BLANKS)
    front, places = _front(raw)
    marks: list[str] = []
    tags = position = 0
    in_order = True
    mine = re.compile(r"\s*" + r"\s+".join(map(re.escape, tag.split())), re.IGNORECASE)
    last_was_reply = False
    while True:
        if found := mine.match(front, position):
            tags += 1
            in_order = in_order and found.group().strip() == tag
        elif found := _ITEM.match(front, position):
            is_reply = found["reply"] is not None
            if is_reply and last_was_reply:
                in_order = False
            else:
                marks.append(" ".join(found.group().split()))
            in_order = in_order and not tags
            last_was_reply = is_reply
        else:
            break
        position = found.end()
    if tags == 1 and in_order and _is_plain(raw, position, places):
        return None
    rest = _from(raw, front, places, position)
    if rest is None:  # what stands in front cannot be cut off
        marks, rest = [], raw
    return _joined(marks, tag, _writable(rest))


def _front(raw: str) -> tuple[str, list[_Place]]:
    """Return the first characters of a value, encoded words decoded, and where each stands."""
    front: list[str] = []
    places: list[_Place] = []
    position = 0
    after_word = False
    while position < len(raw) and len(front) < _MOST_FRONT:
        start = position
        found = _BLANK_RUN.match(raw, position) if after_word else None
        at = found.end() if found is not None else position
        word = encoded_word.word_at(raw, at)
        if word is None:
            front.append(raw[position])
            places.append(_Place(start))
            position += 1
            after_word = False
            continue
        text = word.text
        if text is None:
            break
        front.extend(text)
        places.extend(_Place(at, word, index) for index in range(len(text)))
        position, after_word = word.end, True
    return "".join(front), places


def _is_plain(raw: str, position: int, places: list[_Place]) -> bool:
    return all(place.word is None for place in places[:position]) and raw[:position].isprintable()


def _from(raw: str, front: str, places: list[_Place], position: int) -> str | None:
    """Return the value from a character of its front on; ``None``: an encoded word cannot be cut there."""
    while position < len(front) and front[position] in _BLANKS:
        position += 1
    if not position or not places:
        return raw
    # Behind the last character of the front goes on whatever is left of where that stands.
    place = places[position] if position < len(places) else _after(places[-1])
    if place.word is None or not place.skipped:
        return raw[place.start :].lstrip(_BLANKS)
    left = place.word.without(front[position - place.skipped : position])
    return None if left is None else (left + raw[place.word.end :]).lstrip(_BLANKS)


def _after(last: _Place) -> _Place:
    return _Place(last.start + 1) if last.word is None else last._replace(skipped=last.skipped + 1)


def _joined(marks: list[str], tag: str, rest: str) -> str:
    pieces = [*marks, tag]
    if not tag.isascii() or "=?" in tag:
        # Blanks between two encoded words are none (RFC 2047 section 6.2).
        pieces[-1:] = encoded_word.encode(f"{tag} " if rest.startswith("=?") else tag).split(" ")
    if rest:
        pieces.append(rest)
    written, used = pieces[0], len(_FIELD) + len(pieces[0])
    for piece in pieces[1:]:
        needed = 1 + len(piece.partition("\n")[0].encode())
        fits = used + needed <= _SOFT_LINE
        written += f"{' ' if fits else chr(10) + ' '}{piece}"
        used = used + needed if fits else needed
    return written


def _writable(text: str) -> str:
    """Return text that libmilter can pass on: octets that are not UTF-8 as encoded words of what they are taken for."""
    return re.sub(_RAW_WORD, _as_words, text)


def _as_words(found: re.Match[str]) -> str:
    octets = found.group().encode("utf-8", "surrogateescape")
    # Blanks between two encoded words are none (RFC 2047 section 6.2): those around it become part of it.
    if found.string[: found.start()].rstrip(_BLANKS).endswith("?="):
        octets = b" " + octets
    if found.string[found.end() :].lstrip(_BLANKS).startswith("=?"):
        octets += b" "
    parts = [octets[start : start + _OCTETS_OF_A_WORD] for start in range(0, len(octets), _OCTETS_OF_A_WORD)]
    return "\n ".join(encoded_word.octets_as_word(part, "windows-1252") for part in parts)
