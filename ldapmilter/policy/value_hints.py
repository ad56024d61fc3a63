"""What was probably meant by a value that breaks the grammar: a few words behind the complaint."""

from __future__ import annotations

import re

from ldapmilter.address import fold_domain, parse_address

# Text, not compiled here: few values need it, and whoever starts a verb would wait for it.
_NAMED = r"(?P<name>[^<>@]*\S)\s+<?(?P<address>[^\s<>]+@[^\s<>]+)>?\s*\Z"
_WHEN_WORDS = frozenset({"*", "internal", "external"})


def for_address(text: str) -> str:
    """Return a hint for what should be an address and is none, with the sign before it; empty: there is none."""
    if (named := re.match(_NAMED, text)) is not None and _is_address(named["address"]):
        return f"; write {named['name']} <{named['address']}>"
    inside = text.strip("<> ")
    if inside != text and _is_address(inside):
        return f"; write {inside}"
    if text.lower().startswith("group:") and _is_address(text[len("group:") :]):
        return f"; group: stands in conditions alone: write {text[len('group:') :]}"
    if not text.isascii():
        return _for_another_script(text)
    at = text.count("@")
    if at != 1:
        return "; there is no @ in it" if at == 0 else f"; there are {at} @ in it"
    return ""


def _for_another_script(text: str) -> str:
    local, _, domain = text.rpartition("@")
    ace = fold_domain(domain) if local and local.isascii() else None
    return f"; write {local}@{ace}" if ace is not None else "; before the @ only ASCII can be delivered"


def for_copy(text: str, word: str) -> str:
    """Return a hint for a word behind the address of a copy that is none of its options."""
    left, arrow, right = text.partition("=>")
    if arrow:
        return f"; a copy has no =>: write {right.strip()} with={left.strip()}"
    if (named := re.match(_NAMED, text)) is not None and "<" in text:
        return f"; a copy has no name: write {named['address']}"
    if word.lower() in {"with", "until", "ref"}:
        return f"; write {word.lower()}= and its value without blanks"
    if _is_address(word):
        return f"; for a second copy give the attribute a second value; for mail with {word} only, write with={word}"
    if word.lower() in _WHEN_WORDS or ("." in word and fold_domain(word.removeprefix(".")) is not None):
        return f"; did you mean with={word}?"
    return ""


def for_when(text: str) -> str:
    """Return a hint for what should say with whom, and does not."""
    if text.lower().startswith("with="):
        return f"; write {text[len('with=') :]} (with= is for copies)"
    if text.startswith(("*.", "@.")):
        return f"; for the subdomains write {text[1:]}"
    if text.startswith("@"):
        return f"; for a domain write {text[1:]}"
    if "<" in text:
        return "; the mailbox stands behind =>, whom mail goes to before it"
    return for_address(text) if "@" in text else ""


def _is_address(text: str) -> bool:
    return text.isascii() and parse_address(text) is not None
