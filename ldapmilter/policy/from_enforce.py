"""May the sender use the From that the message has? And what happens when not.

Every address in every From has to be one the user may use; what cannot be read is none. A Sender
field counts for people who submit by themselves: mail programs show it as "X on behalf of Y". What a
mailbox server writes there (the person behind a delegated message) is Zimbra's own and stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ldapmilter.errors import InvalidValue
from ldapmilter.mailbox.reading import read_from
from ldapmilter.mailbox.writing import header_value
from ldapmilter.policy.copies import is_none
from ldapmilter.policy.levels import Effective, effective
from ldapmilter.policy.model import FromChange, HeaderChange, Notice, Reason, Refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ldapmilter.directory.interface import Directory
    from ldapmilter.directory.model import Chain, Entry
    from ldapmilter.message import Headers
    from ldapmilter.policy.model import FromPolicy

Strictness = Literal["off", "rewrite", "reject"]

_STRICTNESS: tuple[Strictness, ...] = ("off", "rewrite", "reject")
FIELDS = frozenset({"from", "sender"})
"""The header fields that enforcement reads."""


@dataclass(frozen=True, slots=True)
class Rule:
    """The enforcement that applies to a sender, and why."""

    strictness: Strictness
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What enforcement does to one message: nothing, one change, or a refusal."""

    change: FromChange | None = None
    refusal: Refusal | None = None
    header_changes: tuple[HeaderChange, ...] = ()


def read_strictness(text: str) -> Strictness:
    """Parse the value of an enforcement attribute.

    Raises:
        InvalidValue: it is none of the three words.
    """
    value = text.strip().lower()
    if value not in _STRICTNESS:
        message = f"{text!r} is none of {', '.join(_STRICTNESS)}"
        raise InvalidValue(message)
    return value


def choose(chain: Chain, policy: FromPolicy) -> tuple[Rule | None, list[Notice]]:
    """Return the enforcement on a sender's chain, or ``None`` when there is none.

    The first level that says anything decides; among policy groups the strictest.
    """
    values: Effective[Strictness] = effective(
        chain, policy.enforce_attributes, "override", lambda _holder, text: read_strictness(text), ends=is_none
    )
    notices = [
        Notice(
            text=f"invalid value of {bad.attribute} at {bad.holder.dn}: {bad.problem}",
            invalid_value_of="from",
            error=True,
        )
        for bad in values.unusable
    ]
    notices.extend(Notice(text=text) for text in values.with_options)
    off: Strictness = "off"
    strictest = max((found.value for found in values.found), key=_STRICTNESS.index, default=off)
    if strictest == "off":
        return None, notices
    reasons = tuple(
        Reason(
            level=found.holder.level,
            dn=found.holder.dn,
            attribute=found.attribute,
            value=found.text,
            group_path=found.holder.group_path,
        )
        for found in values.found
        if found.value == strictest
    )
    return Rule(strictest, reasons), notices


def enforce(
    rule: Rule, account: Entry, headers: Headers, directory: Directory, policy: FromPolicy, *, ask_sender: bool
) -> Outcome:
    """Return what happens to a message of an account.

    Args:
        rule: the enforcement that applies.
        account: the sender's account.
        headers: the From and Sender fields of the message.
        directory: where the entries named in them are looked up.
        policy: the ``[from]`` section.
        ask_sender: whether a Sender field has to be the user's as well.

    Raises:
        DirectoryUnavailable: an address could not be looked up.
    """
    own = directory.own_mailbox(account)
    from_values = headers.values("from")
    correct = FromChange(
        value=header_value(account.display_name, own), cause="enforce", reasons=rule.reasons, mode=policy.mode
    )
    foreign = _foreign(from_values, account, directory)
    foreign_sender = _foreign(headers.values("sender"), account, directory) if ask_sender else []
    removed = (HeaderChange(name="Sender", value=None, mode=policy.mode),) if foreign_sender else ()
    if not from_values:
        # In both modes: Postfix would fill in the envelope sender, whatever it is.
        return Outcome(change=correct, header_changes=removed)
    if not foreign and not foreign_sender:
        return Outcome()
    if rule.strictness == "reject":
        field, shown = ("From", foreign[0]) if foreign else ("Sender", foreign_sender[0])
        return Outcome(refusal=Refusal(reply=_refusal_text(field, own.text), address=shown, reasons=rule.reasons))
    return Outcome(change=correct if foreign else None, header_changes=removed)


def _foreign(values: Sequence[str], account: Entry, directory: Directory) -> list[str]:
    """Return the addresses that are not the account's to use; what cannot be read is one of them."""
    if not values:
        return []
    header = read_from(values)
    addresses = [mailbox.address for mailbox in header.mailboxes]
    allowed = directory.may_send_as(account, addresses)
    foreign = [address.text for address in addresses if address.key not in allowed]
    # Each field is read for itself too: one that is empty beside a good one is still unreadable.
    if header.unreadable or any(not read_from([value]).mailboxes for value in values):
        foreign.append("(unreadable)")
    return foreign


def _refusal_text(field: str, address: str) -> str:
    return f"550 5.7.1 The {field} address is not yours to use; please send as {address}"
