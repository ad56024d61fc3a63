"""Mail addresses as comparable values.

The directory compares addresses without case and without insignificant blanks
(``caseIgnoreIA5Match``) and stores domains in ACE form, so that is what an :class:`Address` is
compared by: local part folded as slapd folds it, domain in lower-case ACE. The local part is held
unquoted: ``"ann"@example.test`` and ``ann@example.test`` are one mailbox (RFC 5321 section 4.1.2: a
quoted form that needs no quotes means the same).
"""

from __future__ import annotations

import re
import sys
from functools import lru_cache
from typing import TYPE_CHECKING

from msgspec import Struct

from ldapmilter.folding import fold_ascii, fold_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# RFC 5321 section 4.5.3.1: a path is at most 256 octets, a local part 64, a domain 255. Zimbra
# stores up to 256 characters, so the local part is bounded by the whole only.
MAX_ADDRESS_OCTETS = 256
_MAX_TEXT = 4 * MAX_ADDRESS_OCTETS

# RFC 5322 section 3.2.3: all but controls, blanks and specials. A set that lists what is allowed, up to
# the last character of Unicode, takes ten times as long to compile as all others here.
_ATOM = r'[^\x00-\x20\x7f()<>\[\]:;@\\,."]+'
_DOT_ATOM = re.compile(rf"{_ATOM}(?:\.{_ATOM})*\Z")
# Postfix and Zimbra accept stray dots ("a..b@", ".a@", "a.@"), so real mail has them.
_LOOSE_LOCAL = re.compile(r'[^\x00-\x20\x7f()<>\[\]:;@\\,"]+\Z')
_QUOTED_LOCAL = re.compile(r'"((?:[^"\\\x00-\x1f\x7f]|\\[^\x00-\x1f\x7f])*)"\Z')
_QUOTED_PAIR = re.compile(r"\\(.)", re.DOTALL)
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_\-]{0,61}[A-Za-z0-9_])?\Z")
_ADDRESS_LITERAL = re.compile(r"\[[A-Za-z0-9:.\-]+\]\Z")

DEVIATIONS = "\u00df\u1e9e\u03c2\u200c\u200d"
"""What IDNA 2003 and IDNA 2008 read differently in a domain (UTS 46): sharp s, final sigma, joiners."""


class Address(Struct, frozen=True, eq=False, gc=False):
    """One addr-spec (RFC 5322 section 3.4.1), split and normalised.

    Two addresses are equal when Zimbra's directory would take them for the same: see ``key``.
    """

    key: str
    """``local@domain`` folded for comparison; what look-ups and sets are keyed by."""
    domain: str
    """Domain in lower-case ACE form, without a trailing dot."""
    written: str | None = None
    """Local part where it is written otherwise than in the key."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Address) and self.key == other.key

    def __ne__(self, other: object) -> bool:  # a Struct's own does not ask __eq__
        return not self == other

    def __hash__(self) -> int:
        return hash(self.key)

    @property
    def local(self) -> str:
        """Local part as written, without quotes."""
        return self.key[: -len(self.domain) - 1] if self.written is None else self.written

    @property
    def is_plain(self) -> bool:
        """Whether the key says it all: :func:`plain_address`."""
        return self.written is None

    @property
    def text(self) -> str:
        """The address as it is written to the wire: quoted where RFC 5321 wants quotes."""
        local = self.local
        if _DOT_ATOM.match(local):
            return f"{local}@{self.domain}"
        escaped = local.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"@{self.domain}'

    @property
    def is_readable(self) -> bool:
        """Whether the directory can be asked for it.

        Mail servers take, and deliver, what no directory holds: a local part that is not ASCII (which
        needs SMTPUTF8, and Zimbra does not offer that), of control characters, of nothing, or too long.
        """
        key = self.key
        return key.isascii() and key.isprintable() and key[0] != "@" and len(key) <= MAX_ADDRESS_OCTETS

    @property
    def search_keys(self) -> tuple[str, ...]:
        """What the directory may hold it as: a local part that needs quotes may be stored with them, or without.

        In the order in which Postfix asks (``mail_addr_find``: external form first).
        """
        quoted = self.text if self.is_plain else plain_address(self.key).text
        return (self.key,) if quoted == self.key else (quoted, self.key)

    def __str__(self) -> str:
        return self.text


def fold_domain(text: str) -> str | None:
    """Return a domain in lower-case ACE form, or ``None`` when it is not a domain.

    Domains are folded here and nowhere else. What is ASCII is taken as it is (the directory and SMTP
    have ACE forms), underscores and all.
    """
    text = text.rstrip(".") if len(text) > 1 else text
    if not text.isascii():
        ace = _ace(text)
        if ace is None:
            return None
        text = ace
    text = text.lower()
    if _ADDRESS_LITERAL.match(text):
        return text
    if len(text) > 253 or not all(_LABEL.match(label) for label in text.split(".")):  # noqa: PLR2004 - RFC 1035
        return None
    return text


@lru_cache(maxsize=256)
def _ace(text: str) -> str | None:
    """Return the ACE form by IDNA 2008 (RFC 5891) of a domain mapped by UTS 46, non-transitional; ``None``: none.

    IDNA 2003 takes :data:`DEVIATIONS` for other letters or for none, and so for another domain.
    """
    import idna  # noqa: PLC0415 - mail and most configurations are ASCII, and do not wait for it

    try:
        # Older tables of UTS 46 take the capital sharp s for "ss".
        mapped = idna.uts46_remap(text.replace("\u1e9e", "\u00df"), std3_rules=False, transitional=False)
        labels = (label if label.isascii() else idna.alabel(label).decode("ascii") for label in mapped.split("."))
        return ".".join(labels)
    except UnicodeError:  # idna.IDNAError is one
        return None


def parse_address(text: str) -> Address | None:
    """Return the address that ``text`` spells, or ``None`` when it spells none.

    Accepts ``local@domain`` with an optionally quoted local part, in angle brackets or not, a
    source route in front dropped (RFC 5321 appendix C). Control characters, blanks outside
    quotes, a missing ``@`` or a domain that cannot exist are no address.
    """
    # Bounded before it is remembered: a peer chooses these texts.
    return _parse(text) if len(text) <= _MAX_TEXT else None


def parse_addresses(texts: Iterable[str]) -> Iterator[Address]:
    """Return the addresses among some texts; what spells none is left out."""
    return (address for text in texts if (address := parse_address(text)) is not None)


@lru_cache(maxsize=1024)
def _parse(text: str) -> Address | None:
    text = text.strip(" \t")
    if text.startswith("<") and text.endswith(">"):
        text = text[1:-1]
    if text.startswith("@") and ":" in text:
        text = text.partition(":")[2]
    if len(text) > MAX_ADDRESS_OCTETS or len(text.encode(errors="surrogatepass")) > MAX_ADDRESS_OCTETS:
        return None
    local, at, domain_text = text.rpartition("@")
    if not at:
        return None
    domain = fold_domain(domain_text)
    if domain is None:
        return None
    if quoted := _QUOTED_LOCAL.match(local):
        local = _QUOTED_PAIR.sub(r"\1", quoted.group(1))
    elif not _LOOSE_LOCAL.match(local):
        return None
    if any("\ud800" <= character <= "\udfff" for character in local):
        return None  # bytes that are not UTF-8: no address in a directory
    return make_address(local, domain)


def make_address(local: str, domain: str) -> Address:
    """Return the address of a local part (unquoted) in a domain (lower-case ACE)."""
    text = f"{local}@{domain}"
    key = fold_ascii(text)
    return Address(key=key, domain=sys.intern(domain), written=None if key == text else local)


def plain_address(key: str) -> Address:
    """Return the address that is written as its key."""
    return Address(key=key, domain=sys.intern(key.rpartition("@")[2]))


def envelope_address(text: str) -> Address | None:
    """Return the address in an SMTP path as the MTA took it, or ``None`` when it has no usable domain.

    Mail servers accept local parts that are no address in any directory (raw 8-bit octets, say) and
    deliver them all the same: such mail goes to its domain, to whoever an extension is cut from, and
    their rules are due. :attr:`Address.is_readable` tells.
    """
    return parse_address(text) or _any_address(text)


def stored_address(text: str) -> Address | None:
    """Return the address that a value in the directory is, as delivery and searches take it.

    Blanks may stand in a local part without quotes.
    """
    return parse_address(text) or _any_address(fold_ascii(text))


def folded_address(text: str) -> str:
    """Return a name that may be an address as it is compared: the key of the address, or the folded name."""
    address = stored_address(text) if "@" in text else None
    return address.key if address is not None else fold_value(text)


def stored_addresses(texts: Iterable[str]) -> Iterator[Address]:
    """Return the addresses among some values of the directory; what has no usable domain is left out."""
    return (address for text in texts if (address := stored_address(text)) is not None)


def _any_address(text: str) -> Address | None:
    if text.startswith("@") and ":" in text:
        text = text.partition(":")[2]
    local, at, domain_text = text.rpartition("@")
    domain = fold_domain(domain_text) if at and len(domain_text) <= MAX_ADDRESS_OCTETS else None
    if domain is None:
        return None
    if len(local) > 1 and local[0] == local[-1] == '"':
        local = _QUOTED_PAIR.sub(r"\1", local[1:-1])
    return make_address(local, domain)


def strip_brackets(path: str) -> str:
    """Return an SMTP path (``<a@b>``, or ``a@b`` as sendmail(1) passes it) without its brackets."""
    if path.startswith("<") and path.endswith(">"):
        return path[1:-1]
    return path
