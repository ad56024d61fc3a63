"""The grammar of ``WHEN``: which other party a rule or a copy is for."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from ldapmilter.address import Address, fold_domain, parse_address
from ldapmilter.errors import InvalidValue
from ldapmilter.policy import value_hints

if TYPE_CHECKING:
    from collections.abc import Callable

WhenKind = Literal["address", "group", "domain", "subdomains", "internal", "external", "any"]

_RANK: dict[WhenKind, int] = {
    "address": 0,
    "group": 1,
    "domain": 2,
    "subdomains": 3,
    "internal": 4,
    "external": 4,
    "any": 5,
}
_WHEN_FORMS = "*, internal, external, example.net, .example.net, user@example.net or group:list@example.com"


class When(Struct, frozen=True):
    """Which other party a rule or a copy is for."""

    kind: WhenKind
    operand: str = ""
    """Address key, folded domain (without the leading dot), or nothing."""

    @property
    def specificity(self) -> tuple[int, int]:
        """Sort key: the smaller, the more specific (a longer subdomain is more specific)."""
        return (_RANK[self.kind], -len(self.operand) if self.kind == "subdomains" else 0)


@lru_cache(maxsize=4096)
def parse_when(text: str) -> When:
    """Parse a ``WHEN``.

    Raises:
        InvalidValue: the text is none of the forms.
    """
    lowered = text.lower()
    if text == "*":
        return When("any")
    if lowered == "internal":
        return When("internal")
    if lowered == "external":
        return When("external")
    if lowered.startswith("group:"):
        return When("group", ascii_address(text[len("group:") :], "group: wants the address of a list").key)
    if "@" in text:
        return When("address", ascii_address(text, "WHEN looks like an address but is none", value_hints.for_when).key)
    kind: WhenKind = "subdomains" if text.startswith(".") else "domain"
    domain = fold_domain(text.removeprefix("."))
    # A single label is far more often a slip ("interal") than a domain: refuse it aloud.
    if domain is None or (kind == "domain" and "." not in domain):
        msg = f"{text!r} is no WHEN; allowed are {_WHEN_FORMS}{value_hints.for_when(text)}"
        raise InvalidValue(msg)
    return When(kind, domain)


def ascii_address(text: str, complaint: str, hint: Callable[[str], str] = value_hints.for_address) -> Address:
    """Return the address that a value has to be, in ASCII and without angle brackets.

    Raises:
        InvalidValue: it is none: the complaint, the text, and a hint what was probably meant.
    """
    address = parse_address(text) if text.isascii() and not text.startswith("<") else None
    if address is None:
        msg = f"{complaint}: {text!r}{hint(text)}"
        raise InvalidValue(msg)
    return address
