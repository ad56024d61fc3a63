"""Mail addresses as comparable values.

Zimbra compares addresses without case (``caseIgnoreIA5Match``) and stores domains in ACE form, so
that is what an :class:`Address` is compared by: local part in lower case, domain in lower-case ACE.
The local part is held unquoted: ``"ann"@example.test`` and ``ann@example.test`` are one mailbox
(RFC 5321 section 4.1.2: a quoted form that needs no quotes means the same).
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# RFC 5321 section 4.5.3.1: a path is at most 256 octets, a local part 64, a domain 255. Zimbra
# stores up to 256 characters, so the local part is bounded by the whole only.
MAX_ADDRESS_OCTETS = 256
_MAX_TEXT = 4 * MAX_ADDRESS_OCTETS

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\-\x80-\U0010ffff]+"
_DOT_ATOM = re.compile(rf"{_ATOM}(?:\.{_ATOM})*\Z")
# Postfix and Zimbra accept stray dots ("a..b@", ".a@", "a.@"), so real mail has them.
_LOOSE_LOCAL = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.\-\x80-\U0010ffff]+\Z")
_QUOTED_LOCAL = re.compile(r'"((?:[^"\\\x00-\x1f\x7f]|\\[^\x00-\x1f\x7f])*)"\Z')
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_\-]{0,61}[A-Za-z0-9_])?\Z")
_ADDRESS_LITERAL = re.compile(r"\[[A-Za-z0-9:.\-]+\]\Z")


@dataclass(frozen=True, slots=True)
class Address:
    """One addr-spec (RFC 5322 section 3.4.1), split and normalised.

    Two addresses are equal when Zimbra's directory would take them for the same: see ``key``.
    """

    key: str
    """``local@domain`` folded for comparison; what look-ups and sets are keyed by."""
    domain: str = field(compare=False)
    """Domain in lower-case ACE form, without a trailing dot."""
    written: str | None = field(default=None, compare=False)
    """Local part where it is written otherwise than in the key."""
    odd: bool = field(default=False, compare=False)
    """Whether the local part is none that a directory could hold."""

    @property
    def local(self) -> str:
        """Local part as written, without quotes."""
        return self.key[: -len(self.domain) - 1] if self.written is None else self.written

    @property
    def is_plain(self) -> bool:
        """Whether the key says it all: :func:`plain_address`."""
        return self.written is None and not self.odd

    @property
    def text(self) -> str:
        """The address as it is written to the wire: quoted where RFC 5321 wants quotes."""
        local = self.local
        if _DOT_ATOM.match(local):
            return f"{local}@{self.domain}"
        escaped = local.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"@{self.domain}'

    @property
    def is_ascii(self) -> bool:
        """Whether a directory can hold it: it travels without SMTPUTF8, which Zimbra does not offer."""
        return self.local.isascii() and not self.odd

    def __str__(self) -> str:
        return self.text


def fold_domain(text: str) -> str | None:
    """Return a domain in lower-case ACE form, or ``None`` when it is not a domain.

    IDNA 2003, as Zimbra itself encodes (``zimbraDomainName`` is stored in ACE form).
    """
    text = text.rstrip(".") if len(text) > 1 else text
    if not text.isascii():
        try:
            text = text.encode("idna").decode("ascii")
        except UnicodeError:
            return None
    text = text.lower()
    if _ADDRESS_LITERAL.match(text):
        return text
    if len(text) > 253 or not all(_LABEL.match(label) for label in text.split(".")):  # noqa: PLR2004 - RFC 1035
        return None
    return text


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
        local = re.sub(r"\\(.)", r"\1", quoted.group(1))
    elif not _LOOSE_LOCAL.match(local):
        return None
    if any("\ud800" <= character <= "\udfff" for character in local):
        return None  # bytes that are not UTF-8: nobody's address in this directory
    return make_address(local, domain)


def make_address(local: str, domain: str) -> Address:
    """Return the address of a local part (unquoted) in a domain (lower-case ACE).

    Only ASCII letters fold, as in ``caseIgnoreIA5Match``: some other letters (U+212A) would turn
    into ASCII ones and so into somebody else's address.
    """
    folded = local.lower() if local.isascii() else local
    return Address(key=f"{folded}@{domain}", domain=sys.intern(domain), written=None if local == folded else local)


def plain_address(key: str) -> Address:
    """Return the address that is written as its key."""
    return Address(key=key, domain=sys.intern(key.rpartition("@")[2]))


def envelope_address(text: str) -> Address | None:
    """Return the address in an SMTP path as the MTA took it, or ``None`` when it has no usable domain.

    Mail servers accept local parts that are no address in any directory (raw 8-bit octets, say) and
    deliver them all the same: such mail goes to its domain, and the domain's rules are due.
    """
    address = parse_address(text)
    if address is not None:
        return address
    local, at, domain_text = text.rpartition("@")
    domain = fold_domain(domain_text) if at and len(text) <= _MAX_TEXT else None
    return Address(key=f"{local}@{domain}", domain=domain, odd=True) if domain else None


def strip_brackets(path: str) -> str:
    """Return an SMTP path (``<a@b>``, or ``a@b`` as sendmail(1) passes it) without its brackets."""
    if path.startswith("<") and path.endswith(">"):
        return path[1:-1]
    return path
