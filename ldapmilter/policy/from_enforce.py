"""May the sender use the From that the message has? And what happens when not.

Every address in every From has to be one the user may use; what cannot be read is none. A Sender
field counts for people who submit by themselves: mail programs show it as "X on behalf of Y". What a
mailbox server writes there (the person behind a delegated message) is Zimbra's own and stays.

A mailbox server has checked who may write on whose behalf, and who sends a message on: there a From of another
account passes with the user's own Sender, and of a message that is sent on the newest Resent fields are judged.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Literal

from msgspec import Struct
from msgspec.structs import replace

from ldapmilter.address import parse_address
from ldapmilter.errors import InvalidValue
from ldapmilter.mailbox.reading import is_blank, read_from
from ldapmilter.mailbox.writing import header_value
from ldapmilter.policy.effect import FromChange, HeaderChange
from ldapmilter.policy.from_kept import RESENT_FIELDS, newest_resent
from ldapmilter.policy.levels import AsIfAbsent, Effective, PassedOver, effective, is_none, reason_of
from ldapmilter.policy.model import Notice, Refusal
from ldapmilter.policy.refusal_text import refusal_reply

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Container, Mapping, Sequence

    from ldapmilter.address import Address
    from ldapmilter.directory.interface import Directory
    from ldapmilter.directory.model import Chain, Entry, SendRight
    from ldapmilter.message import Headers
    from ldapmilter.policy.effect import Reason
    from ldapmilter.policy.from_kept import Resent
    from ldapmilter.policy.settings import FromPolicy

    Usable = Callable[[Collection[Address]], Container[str]]
    """Returns the keys of those addresses that the user may write as."""

Strictness = Literal["off", "rewrite", "reject"]

_STRICTNESS: tuple[Strictness, ...] = ("off", "rewrite", "reject")
_FIELDS = frozenset({"from", "sender"})
_RIGHTS: dict[SendRight, str] = {
    "own": "the user's own address",
    "allowed": "zimbraAllowFromAddress or canonical address",
    "any": "zimbraAllowAnyFromAddress is TRUE",
    "extension": "the user's own address with an extension",
    "granted": "a grant to the user (zimbraACE)",
    "external": "an external account of the user's (data source)",
    "unknown": "could not be looked up",
}
_MOST_RIGHTS = 2
"""Addresses of which it is said by what they are the user's."""
_ON_BEHALF = "on behalf of who stands in From: the Sender of a mailbox server's mail is the user's own"


_OFF = AsIfAbsent("off", "any From may be used: enforcement is off")


class Rule(Struct, frozen=True):
    """The enforcement that applies to a sender, and why."""

    strictness: Strictness
    reasons: tuple[Reason, ...]


class Enforcement(Struct, frozen=True):
    """What enforcement does to one message: nothing, one change, or a refusal."""

    change: FromChange | None = None
    refusal: Refusal | None = None
    header_changes: tuple[HeaderChange, ...] = ()
    why_allowed: str = ""
    """In words; where From neither changes nor is refused."""


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


def choose(
    chain: Chain, policy: FromPolicy, passed_over: list[PassedOver] | None = None
) -> tuple[Rule | None, list[Notice]]:
    """Return the enforcement on a sender's chain, or ``None`` when there is none.

    The first level that says anything decides; among policy groups the strictest. ``passed_over`` takes
    the values that enforce nothing.
    """
    values: Effective[Strictness] = effective(
        chain,
        policy.enforce_attributes,
        "override",
        lambda _holder, text: read_strictness(text),
        ends=is_none,
        passed_over=passed_over,
    )
    notices = [Notice(text=str(bad), invalid_value_of="from", error=True) for bad in values.unusable]
    notices.extend(Notice(text=text) for text in values.with_options)
    off: Strictness = "off"
    strictest = max((found.value for found in values.found), key=_STRICTNESS.index, default=off)
    if strictest == "off":
        if passed_over is not None:
            passed_over[:0] = [PassedOver(one.holder, one.attribute, one.text, _OFF) for one in values.found]
        return None, notices
    reasons = tuple(reason_of(found) for found in values.found if found.value == strictest)
    return Rule(strictest, reasons), notices


def fields_for(*, by_server: bool) -> frozenset[str]:
    """Return the header fields that enforcement reads."""
    return _FIELDS | RESENT_FIELDS if by_server else _FIELDS


def enforce(
    rule: Rule, account: Entry, headers: Headers, directory: Directory, policy: FromPolicy, *, by_server: bool
) -> Enforcement:
    """Return what happens to a message of an account.

    Args:
        rule: the enforcement that applies.
        account: the sender's account.
        headers: the fields of the message that :func:`fields_for` names.
        directory: where the entries named in them are looked up.
        policy: the ``[from]`` section.
        by_server: whether it comes from a mailbox server, and not from a login.

    Raises:
        DirectoryUnavailable: an address could not be looked up.
    """
    own = directory.own_mailbox(account)

    rights: dict[str, SendRight] = {}

    def usable(addresses: Collection[Address]) -> Mapping[str, SendRight]:
        found = directory.may_send_as(account, addresses)
        rights.update(found)
        return found

    from_values = headers.values("from")
    if by_server and (resent := resent_by(headers, usable)) is not None:
        foreign = _not_on_behalf(_foreign(resent.froms, usable), resent.senders, usable, directory)
        if not foreign:
            return Enforcement(why_allowed="the user sends it on: its newest Resent fields are judged in place of From")
        if rule.strictness == "reject":
            return _refused(rule, "Resent-From", foreign[0], own, policy)
    correct = FromChange(
        value=header_value(account.display_name, own), cause="enforce", reasons=rule.reasons, mode=policy.mode
    )
    rights.clear()
    foreign = others = _foreign(from_values, usable)
    why = _ON_BEHALF if others else _by_what(rights)
    senders = [value for value in headers.values("sender") if not is_blank(value)]
    if by_server:
        foreign, foreign_sender = _not_on_behalf(foreign, senders, usable, directory), []
    else:
        foreign_sender = _foreign(senders, usable)
    without_sender = HeaderChange(name="Sender", value=None, reasons=rule.reasons, mode=policy.mode)
    removed = (without_sender,) if foreign_sender else ()
    if not from_values:
        # In both modes: Postfix would fill in the envelope sender, whatever it is.
        return Enforcement(change=correct, header_changes=removed)
    if rule.strictness == "reject" and (foreign or foreign_sender):
        field, shown = ("From", foreign[0]) if foreign else ("Sender", foreign_sender[0])
        return _refused(rule, field, shown, own, policy)
    if foreign:
        return Enforcement(change=correct, header_changes=removed)
    return Enforcement(change=_only_one(from_values, correct), header_changes=removed, why_allowed=why)


def _by_what(rights: Mapping[str, SendRight]) -> str:
    """Return by what the addresses in From are the user's to use."""
    shown = ", ".join(f"{key}: {_RIGHTS[right]}" for key, right in islice(rights.items(), _MOST_RIGHTS))
    further = len(rights) - _MOST_RIGHTS
    return f"From is the sender's to use: {shown}" + (f", and {further} more" if further > 0 else "")


def _refused(rule: Rule, field: str, shown: str, own: Address, policy: FromPolicy) -> Enforcement:
    reply = f"550 5.7.1 The {field} address is not yours to use; please send as {own.text}"
    if policy.reject_text:
        reply = refusal_reply(policy.reject_text, foreign=shown, own=own.text)
    return Enforcement(refusal=Refusal(reply=reply, address=shown, reasons=rule.reasons))


def resent_by(headers: Headers, usable: Usable) -> Resent | None:
    """Return how a message was sent on last, if it was the user: its Resent-From or Resent-Sender is theirs.

    Raises:
        DirectoryUnavailable: an address could not be looked up.
    """
    resent = newest_resent(headers)
    if resent is None:
        return None
    own = any(values and not _foreign(values, usable) for values in (resent.froms, resent.senders))
    return resent if own else None


def _not_on_behalf(foreign: list[str], senders: Sequence[str], usable: Usable, directory: Directory) -> list[str]:
    """Return those foreign addresses on whose behalf a mailbox server does not let the user write.

    With a Sender that is the user's it does for every account and list here: its word, since it has checked that.
    """
    if not foreign or not senders or _foreign(senders, usable):
        return foreign
    addresses = [address for text in foreign if (address := parse_address(text)) is not None]
    resolved = directory.resolve(addresses)
    ours = {
        address.text
        for address in addresses
        if resolved[address.key].entries and resolved[address.key].match in {"address", "alias-domain"}
    }
    return [text for text in foreign if text not in ours]


def _only_one(from_values: Sequence[str], correct: FromChange) -> FromChange | None:
    """Return the change that leaves one From of several, each the user's own: the first mailbox."""
    if len(from_values) == 1:
        return None
    first = read_from(from_values).mailboxes[0]
    try:
        return replace(correct, value=header_value(first.display_name, first.address))
    except InvalidValue:  # an address that is not ASCII
        return correct


def _foreign(values: Sequence[str], usable: Usable) -> list[str]:
    """Return the addresses that are not the user's to use; what cannot be read is one of them."""
    if not values:
        return []
    header = read_from(values)
    addresses = [mailbox.address for mailbox in header.mailboxes]
    allowed = usable(addresses)
    foreign = [address.text for address in addresses if address.key not in allowed]
    # Each field is read for itself too: one that is empty beside a good one is still unreadable.
    if header.unreadable or any(not read_from([value]).mailboxes for value in values):
        foreign.append("(unreadable)")
    return foreign
