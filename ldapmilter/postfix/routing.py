"""Which address Postfix delivers to: routes, ``user%domain``, ``domain!user`` and ``user@domain@domain`` undone.

trivial-rewrite takes every domain of this host off an address, and what is left is read again
(``resolve_addr`` in ``resolve.c``, ``rewrite_tree`` in ``rewrite.c``; parameters ``swap_bangpath``,
``allow_percent_hack`` and ``resolve_dequoted_address``, all on by default). So mail to
``carl%example.test@localhost`` is delivered to carl@example.test.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from typing import TYPE_CHECKING, NamedTuple

from ldapmilter.address import MAX_ADDRESS_OCTETS, Address, fold_domain, make_address, parse_address
from ldapmilter.postfix.tokens import Token, groups_of, scan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

ORIGIN = "localhost"
"""Stands for ``$myorigin``, which completes an address without a domain: as a rule a name of this host."""
_ROUTING = frozenset("@%!")
_NEEDS_QUOTES = re.compile(r'[\x00-\x20\x7f()<>@,;:\\"\[\]]|\.\.')  # is_822_dot_string
_MOST_QUOTES = 10
"""Times that an address is taken out of quotes and read anew."""
_SHOWN = 200
"""Characters of a value that are shown."""
_PLAIN = re.compile(r"[A-Za-z0-9#$&'*+/=?^_`{}~.\-]+@[A-Za-z0-9.\-]+")
"""What nearly every value is: it means itself."""
_AT = Token("@", "@")


class Reading(NamedTuple):
    """What Postfix reads in one value of an alias map."""

    addresses: tuple[Address, ...]
    odd: bool
    """Whether it holds anything but addr-specs: a word without a domain, an impossible domain, stray specials."""


class ValuesReading(NamedTuple):
    """What Postfix reads in several values."""

    addresses: tuple[Address, ...]
    odd: tuple[str, ...]
    """The values that hold anything that is not an addr-spec, cut short."""


def means_itself(text: str) -> bool:
    """Whether a value of an alias map is an address as a directory would hold it, and nothing else."""
    return _PLAIN.fullmatch(text) is not None and not text.endswith(".")


def read_value(text: str) -> Reading:
    """Return the addresses that a value of an alias map means, before any domain of this host is undone."""
    if _PLAIN.fullmatch(text) and (plain := parse_address(text)) is not None:
        return Reading((plain,), odd=False)
    found: dict[str, Address] = {}
    odd = False
    for tokens in groups_of(text):
        tree = _Tree(tokens)
        tree.rewrite()
        if not tree.tokens:
            continue
        complete = bool(tree.count["@"])
        if not complete and _ROUTING.isdisjoint(tree.text):
            odd = True  # a word: a local user of the host
            continue
        local, _, domain_text = (tree.text if complete else f"{tree.text}@{ORIGIN}").rpartition("@")
        address = _address(local, domain_text)
        if address is not None:
            found.setdefault(address.key, address)
        stray = any(token.kind in {"<", ">", "(", ")", ":", ";", "]", "|"} for token in tree.tokens)
        odd |= address is None or stray
    return Reading(tuple(found[key] for key in sorted(found)), odd)


def read_values(texts: Iterable[str]) -> ValuesReading:
    """Return what several values mean together."""
    readings = {text: read_value(text) for text in texts}
    found = {address.key: address for reading in readings.values() for address in reading.addresses}
    odd = sorted(text[:_SHOWN] for text, reading in readings.items() if reading.odd)
    return ValuesReading(tuple(found[key] for key in sorted(found)), tuple(odd))


def delivered_to(address: Address, is_local: Callable[[str], bool]) -> Address:
    """Return the address that mail to an address is delivered to.

    Args:
        address: as the envelope, or an alias map, has it.
        is_local: whether a domain (lower-case ACE) is one of the host that Postfix runs on.
    """
    if not is_local(address.domain):
        return address
    text = address.local
    for _quotes in range(_MOST_QUOTES):
        if _ROUTING.isdisjoint(text):
            return address
        if _needs_quotes(text, len(text)):
            rest, domain = _out_of_quotes(text, is_local)
        else:
            rest, domain = text, ""
        if not domain:
            tree = _Tree(scan(rest))
            rest, domain = tree.resolve(is_local)
        if domain:
            return _address(rest, domain) or address
        if rest == text:
            break
        text = rest
    return address


def _needs_quotes(text: str, end: int) -> bool:
    """Whether the first characters of a text, as a local part, would be quoted (``is_822_dot_string``)."""
    return end == 0 or text[0] == "." or text[end - 1] == "." or _NEEDS_QUOTES.search(text, 0, end) is not None


def _out_of_quotes(text: str, is_local: Callable[[str], bool]) -> tuple[str, str]:
    """Take domains of this host off a local part in quotes.

    Returns:
        What is left and its domain, if that is another host's; without a domain: what is to be read anew.
    """
    if text.startswith("@") and ":" in text[:-1]:
        text = text.partition(":")[2]
    first = _NEEDS_QUOTES.search(text)
    end = len(text)
    while end and (first is None or end > first.start()):
        cut = text.rfind("@", 0, end)
        if cut < 0:
            cut = text.rfind("%", 0, end)
        if cut < 0:
            break
        domain = "".join(token.text for token in scan(text[cut + 1 : end])).removesuffix(".")
        if domain and not _is_local(domain, is_local):
            return text[:cut], domain
        end = cut
    return text[:end], ""


def _is_local(domain_text: str, is_local: Callable[[str], bool]) -> bool:
    domain = _folded(domain_text)
    return domain is not None and is_local(domain)


def _address(local: str, domain_text: str) -> Address | None:
    domain = _folded(domain_text)
    return make_address(local, domain) if domain is not None and local else None


def _folded(domain_text: str) -> str | None:
    return fold_domain(domain_text) if len(domain_text) <= MAX_ADDRESS_OCTETS else None


class _Tree:
    """The tokens of one address, and how many of each kind there are."""

    def __init__(self, tokens: Iterable[Token]) -> None:
        self.tokens = deque(tokens)
        self.count = Counter(token.kind for token in self.tokens)

    @property
    def text(self) -> str:
        """The address in internal form."""
        return "".join(token.text for token in self.tokens)

    def rewrite(self) -> None:
        """Bring an address into the form ``user@domain`` as far as it can be (``rewrite_tree``)."""
        tokens = self.tokens
        if tokens and tokens[0].kind == "@" and self.count[":"] and self._has_colon_inside():
            while self._pop_left().kind != ":":
                pass
        if self.count["@"]:
            if len(tokens) == 1:
                self._pop()
        elif self.count["!"]:
            domain = []
            while (token := self._pop_left()).kind != "!":
                domain.append(token)
            self._extend([_AT, *domain])
        elif self.count["%"]:
            domain = self._pop_after("%")
            self._extend([_AT, *domain])

    def resolve(self, is_local: Callable[[str], bool]) -> tuple[str, str]:
        """Take domains of this host off (``resolve_addr``).

        Returns:
            What is left and its domain, if that is another host's; without a domain: what is in no domain.
        """
        while not _ROUTING.isdisjoint(self.count):
            self.rewrite()
            if not self.count["@"]:
                break
            domain = self._pop_after("@")
            if len(domain) > 1 and domain[-1].kind == "." and domain[-2].kind != ".":
                domain.pop()
            name = "".join(token.text for token in domain)
            if name and not _is_local(name, is_local):
                return self.text, name
        return self.text, ""

    def _has_colon_inside(self) -> bool:
        return self.count[":"] > 1 or self.tokens[-1].kind != ":"

    def _pop(self) -> Token:
        return self._uncount(self.tokens.pop())

    def _pop_left(self) -> Token:
        return self._uncount(self.tokens.popleft())

    def _uncount(self, token: Token) -> Token:
        self.count[token.kind] -= 1
        if not self.count[token.kind]:
            del self.count[token.kind]
        return token

    def _pop_after(self, kind: str) -> list[Token]:
        """Take off the last token of a kind and what follows it, which is returned."""
        after: list[Token] = []
        while (token := self._pop()).kind != kind:
            after.append(token)
        return after[::-1]

    def _extend(self, tokens: Iterable[Token]) -> None:
        for token in tokens:
            self.tokens.append(token)
            self.count[token.kind] += 1
