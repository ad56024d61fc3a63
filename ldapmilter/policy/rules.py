"""The grammar of policy values: what an administrator may write into an attribute; ``WHEN`` is in ``when``.

Every parser returns a frozen value or raises :class:`~ldapmilter.errors.InvalidValue` with a text
that says what is wrong and what would be right. Nothing here asks the directory.
"""

from __future__ import annotations

import re
import unicodedata
from contextlib import suppress
from datetime import date
from functools import lru_cache
from typing import TYPE_CHECKING

from msgspec import Struct

from ldapmilter.address import make_address
from ldapmilter.errors import InvalidValue
from ldapmilter.policy import value_hints
from ldapmilter.policy.when import ascii_address, parse_when
from ldapmilter.postfix.address import late_refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ldapmilter.address import Address
    from ldapmilter.policy.when import When

_PLACEHOLDER = re.compile(r"\{([A-Za-z]+)\}")
_CONTROL = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Categories of Unicode: controls, octets that are not UTF-8, separators of lines and paragraphs."""
_ADDRESS_PLACEHOLDERS = frozenset({"address", "localpart", "domain"})
_NAME_PLACEHOLDERS = _ADDRESS_PLACEHOLDERS | {"displayName", "fromName"}
_COPY_PLACEHOLDERS = frozenset({"localpart", "domain"})
_COPY_ADDRESS = re.compile(r'("(?:[^"\\]|\\.)*"@\S+|\S+)(?:\s+(.*))?\Z', re.DOTALL)


class NoCopy(Struct, frozen=True, kw_only=True):
    """The value ``none``: inheritance ends here for the purposes of its attribute."""


class CopyRule(Struct, frozen=True, kw_only=True):
    """``ADDRESS [with=WHEN] [until=YYYY-MM-DD] [ref=TOKEN]``."""

    template: str
    """The address, possibly with ``{localpart}`` and ``{domain}`` of the copied account."""
    when: When | None = None
    until: date | None = None
    """Last day (UTC, inclusive) on which the value counts."""
    ref: str | None = None

    @property
    def personal(self) -> bool:
        """Whether the address depends on the copied account (so it applies to accounts only)."""
        return _PLACEHOLDER.search(self.template) is not None

    def expired(self, today: date) -> bool:
        """Whether the value is as if absent on this day (UTC)."""
        return self.until is not None and today > self.until

    def address_for(self, account: Address | None) -> Address:
        """Return the copy address for an account's primary address.

        Raises:
            InvalidValue: the outcome is no ASCII address (Postfix would complete a malformed one
                with its own domain and deliver it there), or one that Postfix takes and never delivers to.
        """
        text = self.template
        if account is not None:
            text = fill_address(text, {"localpart": account.local, "domain": account.domain})
        address = ascii_address(text, "the copy address is no valid ASCII address")
        refusal = late_refusal(address)
        if refusal is not None:
            msg = f"no copy can reach {address}: {refusal}"
            raise InvalidValue(msg)
        return address


def fill_address(template: str, values: Mapping[str, str]) -> str:
    """Return an address with its placeholders filled, the local part quoted where it has to be."""
    local, at, domain = template.rpartition("@")
    if "{" in local:
        if quoted := re.fullmatch(r'"(.*)"', local, re.DOTALL):
            local = re.sub(r"\\(.)", r"\1", quoted.group(1))
        local = make_address(_fill(local, values), "x").text.removesuffix("@x")
    return f"{local}{at}{_fill(domain, values)}"


def _fill(template: str, values: Mapping[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda match: values[match.group(1)], template)


@lru_cache(maxsize=16384)
def parse_copy(text: str) -> CopyRule | NoCopy:
    """Parse the value of a copy attribute.

    Raises:
        InvalidValue: bad grammar, not an address, a non-ASCII address.
    """
    if not _CONTROL.isdisjoint(map(unicodedata.category, text)):
        msg = f"{text!r} holds control characters"
        raise InvalidValue(msg)
    match = _COPY_ADDRESS.match(text.strip())
    if match is None:
        msg = f"{text!r} is empty; write ADDRESS [with=WHEN] [until=YYYY-MM-DD] [ref=TOKEN], or none"
        raise InvalidValue(msg)
    template, rest = match.group(1), (match.group(2) or "").split()
    if template.lower() == "none":
        if rest:
            msg = f"{text!r}: none stands alone, nothing may follow it"
            raise InvalidValue(msg)
        return NoCopy()
    _check_placeholders(template, _COPY_PLACEHOLDERS, text)
    options = _copy_options(rest, text)
    rule = CopyRule(
        template=template,
        when=parse_when(options["with"]) if "with" in options else None,
        until=_parse_day(options["until"], text) if "until" in options else None,
        ref=options.get("ref"),
    )
    rule.address_for(make_address("user", "example.net") if rule.personal else None)
    return rule


def _copy_options(words: list[str], text: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        name = name.lower()
        if not equals or name not in {"with", "until", "ref"}:
            hint = value_hints.for_copy(text, word)
            msg = f"{text!r}: {word!r} is not understood; after the address come with=, until= and ref= only{hint}"
            raise InvalidValue(msg)
        if name in options or not value:
            msg = f"{text!r}: {name}= is {'given twice' if name in options else 'empty'}"
            raise InvalidValue(msg)
        options[name] = value
    return options


def _parse_day(day: str, text: str) -> date:
    # fromisoformat() takes more forms from Python 3.11 on; the grammar has one.
    if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", day):
        with suppress(ValueError):
            return date.fromisoformat(day)
    msg = f"{text!r}: until={day} is no day; write until=YYYY-MM-DD"
    raise InvalidValue(msg)


def _check_placeholders(template: str, allowed: frozenset[str], text: str) -> None:
    for name in _PLACEHOLDER.findall(template):
        if name not in allowed:
            choices = ", ".join(f"{{{choice}}}" for choice in sorted(allowed))
            msg = f"{text!r}: {{{name}}} is not a placeholder here; allowed are {choices}"
            raise InvalidValue(msg)
    if re.search(r"[{}]", _PLACEHOLDER.sub("", template)):
        msg = f"{text!r}: a brace that belongs to no placeholder"
        raise InvalidValue(msg)


class MailboxTemplate(Struct, frozen=True, kw_only=True):
    """``MAILBOX``: an RFC 5322 mailbox (section 3.4) with placeholders."""

    display_name: str
    address: str

    @property
    def needs_from_name(self) -> bool:
        """Whether the display name in the message's own From is part of the outcome."""
        return "{fromName}" in self.display_name

    def render(self, *, sender: Address, display_name: str, from_name: str) -> tuple[str, Address]:
        """Return display name and address for one message; inserted text is data, never syntax.

        Raises:
            InvalidValue: the address comes out as none.
        """
        values = {
            "address": sender.text,
            "localpart": sender.local,
            "domain": sender.domain,
            "displayName": display_name,
            "fromName": from_name,
        }
        name = _fill(self.display_name, values)
        if self.address == "{address}":
            return name, sender
        return name, ascii_address(fill_address(self.address, values), "the From address is no valid ASCII address")


@lru_cache(maxsize=16384)
def parse_mailbox(text: str) -> MailboxTemplate:
    """Parse a ``MAILBOX``: ``Name <address>``, ``"Name" <address>`` or ``address``.

    Raises:
        InvalidValue: bad grammar, a non-ASCII address, an unknown placeholder.
    """
    if not _CONTROL.isdisjoint(map(unicodedata.category, text)):
        msg = f"{text!r} holds control characters"
        raise InvalidValue(msg)
    stripped = text.strip()
    if "=>" in text and '"' not in text:
        msg = f"{text!r}: there is no place for WHEN => here; write the mailbox alone, as in Sales <sales@example.com>"
        raise InvalidValue(msg)
    name, address = "", stripped
    if stripped.endswith(">"):
        name, _, address = stripped[:-1].rpartition("<")
        name, address = _display_name(name.strip(), text), address.strip()
    _check_placeholders(name, _NAME_PLACEHOLDERS, text)
    _check_placeholders(address, _ADDRESS_PLACEHOLDERS, text)
    template = MailboxTemplate(display_name=name, address=address)
    sample = make_address("user", "example.net")
    template.render(sender=sample, display_name="", from_name="")
    return template


def _display_name(name: str, text: str) -> str:
    if "=?" in name:
        msg = f"{text!r}: write the name itself (UTF-8); it is encoded when it is sent"
        raise InvalidValue(msg)
    if len(name) > 1 and name[0] == name[-1] == '"':
        inner = name[1:-1]
        if not re.fullmatch(r'(?:[^"\\]|\\.)*', inner):
            msg = f'{text!r}: a quote inside the quoted name; write it as \\"'
            raise InvalidValue(msg)
        return re.sub(r"\\(.)", r"\1", inner)
    if re.search(r'[<>"\\,;:@()\[\]]', name):
        msg = f'{text!r}: put a name with one of <>"\\,;:@()[] in quotes, as in "Sales, East" <a@example.com>'
        raise InvalidValue(msg)
    return name


class SenderRule(Struct, frozen=True, kw_only=True):
    """``WHEN => MAILBOX``."""

    when: When
    mailbox: MailboxTemplate


@lru_cache(maxsize=16384)
def parse_sender_rule(text: str) -> SenderRule:
    """Parse the value of a sender's From rule.

    Raises:
        InvalidValue: bad grammar on either side of ``=>``.
    """
    when, arrow, mailbox = text.partition("=>")
    if not arrow:
        msg = f"{text!r} has no =>; write WHEN => MAILBOX, as in example.net => Sales <sales@example.com>"
        raise InvalidValue(msg)
    return SenderRule(when=parse_when(when.strip()), mailbox=parse_mailbox(mailbox))
