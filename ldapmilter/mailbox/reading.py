"""What the From headers of a message say (RFC 5322 sections 3.4, 3.6.2 and 4.4, RFC 6854).

Anyone can write anything into a From, so it is read in one pass that neither recurses nor looks
back, and up to a fixed length. What is read leniently is what means the same to every reader;
where mail programs differ on which address they would show, the header counts as unreadable.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct, field

from ldapmilter.address import MAX_ADDRESS_OCTETS, Address, parse_address
from ldapmilter.mailbox import encoded_word
from ldapmilter.mailbox.writing import Mailbox, clean_display_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# Characters of all From headers together that are read: more than libmilter could ever write into
# one (65,535 octets), so whatever header_value() returned can be read.
MAX_LENGTH = 65_536
# Mailboxes of all From headers together that are read.
MAX_MAILBOXES = 1000
# A source route may precede the address. A longer text is not even tried.
_MAX_ADDR_SPEC = 2 * MAX_ADDRESS_OCTETS

_TOKEN = re.compile(
    r"""
    (?P<blank>[ ]+)
    | "(?P<quoted>[^"\\]*(?:\\.[^"\\]*)*)(?P<end>"?)
    | (?P<comma>,[, ]*)
    | (?P<special>[():;<>])
    | (?P<word>(?:[^ "(),:;<>@]+|@(?:\[[A-Za-z0-9:.\-]*\])?)+)  # a domain literal may hold colons
    """,
    re.VERBOSE | re.DOTALL,
)
_KINDS = {"blank": "blank", "word": "word", "comma": ","}
_COMMENT_TOKEN = re.compile(r"[^()\\]+|\\.|[()\\]", re.DOTALL)
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)
_FOLD = re.compile(r"\r?\n(?=[ \t])")
_BLANKS = str.maketrans("\t\r\n", "   ")
# Octets that are not UTF-8 arrive as surrogates; mail that has them is mostly Western.
_RAW_OCTETS = {0xDC00 + octet: bytes([octet]).decode("cp1252", "replace") for octet in range(0x80, 0x100)}


class FromHeader(Struct, frozen=True, kw_only=True):
    """All From headers of one message."""

    count: int
    """How many there are."""
    mailboxes: tuple[Mailbox, ...]
    """Every mailbox that could be read, in the order of the headers, groups flattened."""
    unreadable: bool
    """Whether any part of any of them is not an address, or could be taken for another than was read."""

    @property
    def display_name(self) -> str:
        """The display name of the first mailbox, empty when it has none or there is none."""
        return self.mailboxes[0].display_name if self.mailboxes else ""


def read_text(value: str) -> str:
    """Return a header value as a reader sees it: unfolded, encoded words and raw octets decoded."""
    return encoded_word.decode(_FOLD.sub("", value).translate(_RAW_OCTETS))


def is_blank(value: str) -> bool:
    """Whether a header value says nothing at all: blanks, commas and comments, without text or group."""
    text = _FOLD.sub("", value[:MAX_LENGTH]).translate(_BLANKS)
    return all(kind in ("blank", "comment", ",") for kind, _ in _tokens(text))


def read_from(values: Sequence[str]) -> FromHeader:
    """Read the values of all From headers of a message, in their order.

    ``values`` are as libmilter gives them: folded or not, octets that are not UTF-8 as surrogates
    (PEP 383). A header without any mailbox, an empty group (RFC 6854) included, is unreadable: it
    names no address that could be compared. What exceeds ``MAX_LENGTH`` or ``MAX_MAILBOXES``
    is not read, and so unreadable too.
    """
    mailboxes: list[Mailbox] = []
    unreadable = False
    left = MAX_LENGTH
    for value in values:
        text = _FOLD.sub("", value[:left]).translate(_BLANKS)
        found = list(islice(_mailboxes(text), MAX_MAILBOXES - len(mailboxes) + 1))
        readable = [mailbox for mailbox in found if mailbox is not None]
        unreadable |= not readable or len(readable) < len(found) or len(value) > left
        mailboxes += readable
        left = max(0, left - len(value))
    return FromHeader(
        count=len(values),
        mailboxes=tuple(mailboxes[:MAX_MAILBOXES]),
        unreadable=unreadable or len(mailboxes) > MAX_MAILBOXES,
    )


def addresses_in(values: Sequence[str]) -> Iterator[Address]:
    """Yield every address that can be read in the values of To or Cc fields, however many there are.

    Nothing follows from one that cannot be read: it is left out.
    """
    for value in values:
        text = _FOLD.sub("", value).translate(_BLANKS)
        yield from (mailbox.address for mailbox in _mailboxes(text) if mailbox is not None)


def _mailboxes(text: str) -> Iterator[Mailbox | None]:
    """Yield every mailbox of one unfolded value, and ``None`` for every flaw."""
    element = _Element()
    in_group = False
    for kind, content in _tokens(text):
        if element.in_angle or kind not in (",", ";", ":"):
            element.take(kind, content)
        elif kind == ":":
            if in_group or not element.is_phrase:
                yield None
            in_group = True
            element = _Element()
        else:
            yield from element.read()
            closes = kind == ";"
            if closes and not in_group:
                yield None
            in_group = in_group and not closes
            element = _Element(delimited=not closes)
    yield from element.read()
    if in_group:
        yield None


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    """Yield kind and content of each token; the kind of a special is the special itself.

    A quoted string or a comment without end takes the rest of the text and yields ``broken``.
    """
    position = 0
    while token := _TOKEN.match(text, position):
        position = token.end()
        kind = token.lastgroup or ""
        if kind == "end":
            if not token["end"]:
                yield "broken", ""
                return
            yield "quoted", token["quoted"]
        elif token["special"] == "(":
            position = _comment_end(text, position)
            if not position:
                yield "broken", ""
                return
            yield "comment", text[token.end() : position - 1]
        else:
            yield _KINDS.get(kind) or token.group(), token.group()


def _comment_end(text: str, position: int) -> int:
    """Return where the comment that ``position`` is in ends, 0 when it does not."""
    depth = 1
    while depth and (token := _COMMENT_TOKEN.match(text, position)):
        depth += {"(": 1, ")": -1}.get(token.group(), 0)
        position = token.end()
    return 0 if depth else position


class _Piece(NamedTuple):
    """A word, quoted string or (in angle brackets) special."""

    text: str
    quoted: bool
    spaced: bool
    """Whether a blank or a comment precedes it."""


class _Element(Struct):
    """What stands between two commas, as far as it has been read."""

    delimited: bool = True
    """Whether a comma precedes it, or nothing."""
    before: list[_Piece] = field(default_factory=list)
    """A phrase, or an addr-spec when no angle brackets follow."""
    inside: list[_Piece] = field(default_factory=list)
    """What the angle brackets hold."""
    opened: bool = False
    closed: bool = False
    junk: bool = False
    spaced: bool = False
    comment: str = ""

    @property
    def in_angle(self) -> bool:
        return self.opened and not self.closed

    @property
    def is_phrase(self) -> bool:
        """Whether it can name a group; an address in front of a colon could be shown as sender."""
        named = bool(self.before) and not self.opened and not self.junk
        return named and not any("@" in piece.text for piece in self.before if not piece.quoted)

    def take(self, kind: str, content: str) -> None:
        """Add one token."""
        if kind in ("blank", "comment"):
            self.spaced = True
            self.comment = content if kind == "comment" else self.comment
            return
        if kind == "<" and not self.opened:
            self.opened = True
        elif kind == ">" and self.in_angle:
            self.closed = True
        elif kind in ("broken", "<", ">", ")") or self.closed:
            self.junk = True
        else:
            piece = _Piece(text=content, quoted=kind == "quoted", spaced=self.spaced)
            (self.inside if self.opened else self.before).append(piece)
        self.spaced = False

    def read(self) -> Iterator[Mailbox | None]:
        """Yield the mailbox it is, if any, and ``None`` for each flaw; nothing when it is empty."""
        if not (self.before or self.opened or self.junk):
            return
        if self.junk or not self.delimited:
            yield None
        if not self.opened:
            address = _address(_addr_spec(self.before, joints="@"))
        elif self.closed:
            address = _address(_addr_spec(self.inside, joints="@.,:"))
        else:
            address = None
        if address is None:
            yield None
            return
        # An address with no name in front takes the comment for one, as was the custom before
        # there were names (RFC 5322 section 3.4, the note at its end).
        raw = (self.opened and _text(self.before)) or _unescape(self.comment)
        name = encoded_word.decode(raw.translate(_RAW_OCTETS))
        yield Mailbox(display_name=clean_display_name(name), address=address)


def _addr_spec(pieces: Sequence[_Piece], *, joints: str) -> str:
    """Return the pieces as one text, without the blanks and comments around ``joints``.

    Those are obsolete syntax (RFC 5322 section 4.4), but ``Dept. ann@example.com`` without brackets
    is more likely a name that is not quoted.
    """
    text: list[str] = []
    for piece in pieces:
        written = f'"{piece.text}"' if piece.quoted else piece.text
        if text and piece.spaced and text[-1][-1] not in joints and written[0] not in joints:
            text.append(" ")
        text.append(written)
    return "".join(text)


def _address(addr_spec: str) -> Address | None:
    # parse_address() remembers what it is asked, so it is not asked about what cannot be one.
    return parse_address(addr_spec) if len(addr_spec) <= _MAX_ADDR_SPEC else None


def _text(pieces: Sequence[_Piece]) -> str:
    return "".join(
        (" " if piece.spaced else "") + (_unescape(piece.text) if piece.quoted else piece.text) for piece in pieces
    )


def _unescape(text: str) -> str:
    return _QUOTED_PAIR.sub(r"\1", text)
