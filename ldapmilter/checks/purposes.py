"""What each attribute is for, by the configuration, and on which entries that has any effect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from ldapmilter.address import Address
from ldapmilter.directory.entries import GROUP_CLASSES
from ldapmilter.policy import list_values
from ldapmilter.policy.from_enforce import read_strictness
from ldapmilter.policy.levels import is_none
from ldapmilter.policy.list_values import ListField
from ldapmilter.policy.rules import (
    CopyRule,
    MailboxTemplate,
    NoCopy,
    SenderRule,
    parse_copy,
    parse_mailbox,
    parse_sender_rule,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ldapmilter.directory.backend.raw_entry import RawEntry
    from ldapmilter.policy.settings import CopyClass, ListsPolicy, Policy

Use = Literal["sent", "received", "sender-from", "recipient-from", "enforce", "list"]
ListValue = bool | ListField | Address
"""A setting of a list that is no word."""
HolderKind = Literal["account", "group", "policy-group", "cos", "domain", "alias-domain", "global", "other"]
Value = CopyRule | NoCopy | SenderRule | MailboxTemplate | ListValue | str | None
"""A value that can be used; ``None``: it ends inheritance (``none`` among From rules)."""

_BY_SENDER: frozenset[Use] = frozenset({"sent", "sender-from", "enforce"})


class Purpose(Struct, frozen=True, kw_only=True):
    """One thing that values of an attribute are for."""

    use: Use
    section: str
    """Of the configuration: ``copy archive``, ``from``."""
    setting: Callable[[str], Value] | None = None
    """Reads a setting of lists."""
    copy_class: CopyClass | None = None
    """Of copies."""

    @property
    def adds_up(self) -> bool:
        """Whether several values count together; else different ones for the same mail are in conflict."""
        return self.use in {"sent", "received"}

    @property
    def may_have_several(self) -> bool:
        """Whether several values of one entry are in no conflict."""
        return self.adds_up or self.setting is list_values.read_field

    def read(self, text: str) -> Value:
        """Return what a value means for this purpose.

        Raises:
            InvalidValue: it breaks the grammar.
        """
        if self.adds_up:
            value = parse_copy(text)
            if self.copy_class is not None and isinstance(value, CopyRule) and not value.personal:
                self.copy_class.check_way(value.address_for(None))
            return value
        if is_none(text):
            return None
        if self.setting is not None:
            return self.setting(text)
        if self.use == "sender-from":
            return parse_sender_rule(text)
        return parse_mailbox(text) if self.use == "recipient-from" else read_strictness(text)

    def without_effect(self, kind: HolderKind, value: Value) -> str | None:
        """Return why a value does nothing on such an entry; ``None``: it does something."""
        if kind == "other":
            return "the entry is not an account, list, COS, domain or global config"
        if self.use == "list" and kind in {"account", "cos"}:
            return "the settings of lists count on lists, domains and the global config"
        if kind == "alias-domain":
            return "an alias domain's addresses follow the domain that it stands for"
        if kind == "group" and self.use in _BY_SENDER:
            return "a list sends nothing, and without ldapMilterAppliesToMembers its values are not its members'"
        if kind == "group" and isinstance(value, CopyRule) and value.personal:
            return "{localpart} and {domain} are an account's, and a list as recipient has none"
        return None


def purposes(policy: Policy) -> dict[str, tuple[Purpose, ...]]:
    """Return what every attribute, as the configuration spells it, is for."""
    found: dict[str, list[Purpose]] = {}

    def note(attributes: tuple[str, ...], use: Use, section: str, copy_class: CopyClass | None = None) -> None:
        for attribute in attributes:
            found.setdefault(attribute, []).append(Purpose(use=use, section=section, copy_class=copy_class))

    for one in policy.copy_classes:
        note(one.sent_attributes, "sent", f"copy {one.name}", one)
        note(one.received_attributes, "received", f"copy {one.name}", one)
    note(policy.from_policy.sender_attributes, "sender-from", "from")
    note(policy.from_policy.recipient_attributes, "recipient-from", "from")
    note(policy.from_policy.enforce_attributes, "enforce", "from")
    for attributes, read in _settings(policy.lists):
        for attribute in attributes:
            found.setdefault(attribute, []).append(Purpose(use="list", section="lists", setting=read))
    return {attribute: tuple(several) for attribute, several in found.items()}


def _settings(lists: ListsPolicy) -> Iterator[tuple[tuple[str, ...], Callable[[str], Value]]]:
    yield lists.from_attributes, list_values.read_from_when
    yield lists.reply_to_attributes, list_values.read_reply_to
    yield lists.headers_attributes, list_values.read_headers
    yield lists.header_field_attributes, list_values.read_field
    yield lists.tag_attributes, list_values.read_tag
    yield lists.bounces_attributes, list_values.read_bounces


def holder_kind(entry: RawEntry, *, applies_to_members: bool) -> HolderKind:
    """Return what an entry is, as a holder of values."""
    classes = entry.classes
    if "zimbraaccount" in classes:
        return "account"
    if classes & GROUP_CLASSES:
        return "policy-group" if applies_to_members else "group"
    if "zimbracos" in classes:
        return "cos"
    if "zimbradomain" in classes:
        return "domain" if (entry.first("zimbradomaintype") or "local").lower() == "local" else "alias-domain"
    return "global" if "zimbraglobalconfig" in classes else "other"
