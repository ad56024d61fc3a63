"""Encoded words (RFC 2047): how text beyond ASCII travels in a header.

Written strictly, read as mail programs read them: a word that cannot be decoded stays as it
stands, and nothing that a header holds raises or costs more than its length.
"""

from __future__ import annotations

import binascii
import codecs
import re
from encodings.aliases import aliases
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# What their first octets mean does not stand by itself, or is not the octets of ASCII.
_WITHOUT_ASCII = frozenset(
    {"utf_7", "utf_8_sig", "utf_16", "utf_16_be", "utf_16_le", "utf_32", "utf_32_be", "utf_32_le"}
)

# RFC 2047 section 2 allows 75 octets a word and 76 a line that has one. The shorter word leaves
# room for a header name and its colon (up to "X-Original-From: ") in front of it.
MAX_WORD_OCTETS = 58
_ROOM = MAX_WORD_OCTETS - len("=?UTF-8?Q??=")
# RFC 2047 section 5 (3): what may stand for itself in a phrase, apart from the blank's underscore.
_Q_SAFE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!*+-/")

# Section 2, with RFC 2231 section 5 (a language after an asterisk); blanks in the text are
# forbidden and found.
_ENCODED_WORD = re.compile(r"=\?([A-Za-z0-9_.:+\-]{1,40})(?:\*[A-Za-z0-9\-]{0,40})?\?([BbQq])\?([ ->@-~]*)\?=")

# A closed list, because Python's codec look-up keeps every unknown name for good, and because some
# of its codecs are not charsets: one unpacks bombs, one takes quadratic time.
_CODECS = frozenset(aliases.values()) - {
    "base64_codec", "bz2_codec", "hex_codec", "idna", "mbcs", "punycode", "quopri_codec", "rot_13", "uu_codec",
    "zlib_codec",
} | {"cp720", "cp737", "cp856", "cp874", "cp875", "cp1006", "koi8_t", "koi8_u", "utf_8_sig"}  # fmt: skip
# What mail labels so is in truth the larger charset (as the WHATWG Encoding Standard has it).
_LARGER = {
    "ascii": "cp1252",
    "euc_kr": "cp949",
    "gb2312": "gb18030",
    "iso_8859_8_e": "iso8859_8",
    "iso_8859_8_i": "iso8859_8",
    "latin_1": "cp1252",
    "shift_jis": "cp932",
    "windows_874": "cp874",
}


def encode(text: str) -> str:
    """Return ``text`` as UTF-8 encoded words for a phrase, one blank between them.

    Q, restricted to section 5 (3), when most characters stand for themselves in it, else base64
    (section 4). No word exceeds ``MAX_WORD_OCTETS``, none splits a character (section 5).
    """
    if sum(map(_stands_for_itself, text)) * 2 > len(text):
        sizes = [len(_q(character)) for character in text]
        return " ".join(f"=?UTF-8?Q?{''.join(map(_q, part))}?=" for part in _split(text, sizes, _ROOM))
    sizes = [len(character.encode()) for character in text]
    return " ".join(
        f"=?UTF-8?B?{binascii.b2a_base64(part.encode(), newline=False).decode('ascii')}?="
        for part in _split(text, sizes, _ROOM // 4 * 3)
    )


def _stands_for_itself(character: str) -> bool:
    return character == " " or character in _Q_SAFE


def _q(character: str) -> str:
    if character == " ":
        return "_"
    if character in _Q_SAFE:
        return character
    return "".join(f"={octet:02X}" for octet in character.encode())


def _split(text: str, sizes: Sequence[int], room: int) -> Iterator[str]:
    """Cut ``text``, whose characters take ``sizes`` octets, into parts of at most ``room`` octets."""
    start = used = 0
    for index, size in enumerate(sizes):
        if used + size > room:
            yield text[start:index]
            start, used = index, 0
        used += size
    yield text[start:]


def decode(text: str) -> str:
    """Return ``text`` with its encoded words decoded, those that cannot be as they stand.

    Blanks between two encoded words are dropped (RFC 2047 section 6.2). Neighbours in one charset
    are decoded together: many programs cut a character in two, though section 5 forbids it.
    Octets that mean nothing in their charset become U+FFFD.
    """
    parts: list[str] = []
    run: list[bytes] = []
    codec = ""
    end = 0

    def flush() -> None:
        if run:
            parts.append(b"".join(run).decode(codec, "replace"))
            run.clear()

    for word in _ENCODED_WORD.finditer(text):
        word_codec = _codec(word[1])
        octets = _octets(word[2], word[3])
        if word_codec is None or octets is None:
            continue
        between = text[end : word.start()]
        if not codec or between.strip(" "):
            flush()
            parts.append(between)
        elif word_codec != codec:
            flush()
        run.append(octets)
        codec, end = word_codec, word.end()
    flush()
    parts.append(text[end:])
    return "".join(parts)


class Word(NamedTuple):
    """One encoded word as it stands in a header, with octets that can be cut without decoding the rest."""

    charset: str
    """As written, with its language if there is one."""
    encoding: str
    """``B`` or ``Q``, as written."""
    octets: bytes
    codec: str
    """Python's name of the charset: one in which ASCII is itself."""
    end: int
    """Where it ends in the text."""

    @property
    def text(self) -> str | None:
        """Its characters; one that goes on in the next word is left out, ``None``: its octets are none."""
        try:
            return codecs.getincrementaldecoder(self.codec)("strict").decode(self.octets)
        except UnicodeError:
            return None

    def without(self, front: str) -> str | None:
        """Return the word without some characters at its front, in its own charset; ``None``: it cannot be cut."""
        try:
            octets = front.encode(self.codec)
        except UnicodeError:
            return None
        rest = self.octets[len(octets) :] if self.octets.startswith(octets) else self._written_anew(front)
        if rest is None:
            return None
        if not rest:
            return ""
        if self.encoding in "bB":
            inside = binascii.b2a_base64(rest, newline=False).decode("ascii")
        else:
            inside = "".join(_q_octet(octet) for octet in rest)
        return f"=?{self.charset}?{self.encoding}?{inside}?="

    def _written_anew(self, front: str) -> bytes | None:
        """Return what follows some characters of a charset in which a character has several spellings (ISO-2022-JP)."""
        try:
            text = self.octets.decode(self.codec)
            rest = text.removeprefix(front).encode(self.codec)
            is_same = text.startswith(front) and front + rest.decode(self.codec) == text
        except UnicodeError:
            return None
        return rest if is_same else None


def _q_octet(octet: int) -> str:
    return "_" if octet == ord(" ") else chr(octet) if chr(octet) in _Q_SAFE else f"={octet:02X}"


def octets_as_word(octets: bytes, charset: str) -> str:
    """Return octets of a charset as one encoded word."""
    return f"=?{charset}?Q?{''.join(_q_octet(octet) for octet in octets)}?="


def word_at(text: str, position: int) -> Word | None:
    """Return the encoded word that begins at a place of a header value; ``None``: none that can be cut."""
    found = _ENCODED_WORD.match(text, position)
    if found is None:
        return None
    codec, octets = _codec(found[1]), _octets(found[2], found[3])
    if codec is None or octets is None or codec in _WITHOUT_ASCII:
        return None
    charset = text[found.start() + 2 : found.start(2) - 1]
    return Word(charset, found[2], octets, codec, found.end())


def _codec(charset: str) -> str | None:
    """Return the Python codec for a MIME charset, or ``None`` when there is none."""
    name = re.sub(r"[^a-z0-9.]+", "_", charset.lower())
    name = aliases.get(name, name)
    name = _LARGER.get(name, name)
    return name if name in _CODECS else None


def _octets(encoding: str, text: str) -> bytes | None:
    if encoding in "Qq":
        return binascii.a2b_qp(text, header=True)
    try:
        return binascii.a2b_base64(text + "==")
    except binascii.Error:
        return None
