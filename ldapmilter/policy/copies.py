"""Which copies one message gets, of those that the chains of its parties ask for.

The message decides: the other party of a ``with=``, the author, and who is a recipient already.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct

from ldapmilter.address import parse_address
from ldapmilter.policy.effect import Copy
from ldapmilter.policy.model import Notice

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from ldapmilter.delivery.settings import Delivery
    from ldapmilter.directory.model import Resolution
    from ldapmilter.policy.copy_requests import CopyRequest, CopyRequests
    from ldapmilter.policy.effect import CopyReason, Direction
    from ldapmilter.policy.facts import Facts
    from ldapmilter.policy.settings import CopyClass
    from ldapmilter.policy.when import When

_MODES: Final = ("apply", "observe", "pass")
_DELIVERIES: Final = ("direct", "tracked", "journal")


class CopyOutcome(Struct, frozen=True):
    """The copies of one message, and what is to be said of them."""

    copies: tuple[Copy, ...] = ()
    notices: tuple[Notice, ...] = ()
    too_many: Notice | None = None
    """That more are asked for than ``[policy] max_copies``; the first so many are left."""


def decide_copies(facts: Facts) -> CopyOutcome:
    """Return the copies that a message gets."""
    if not facts.requests:
        return CopyOutcome()
    policy = facts.policy
    meant = [(text, one.resolution) for text, one in zip(facts.envelope.recipients, facts.recipients, strict=True)]
    copies, notices = copies_for(
        facts.requests,
        policy.copy_classes,
        facts.matches,
        facts.author.own_keys,
        [(text, resolution) for text, resolution in meant if resolution is not None],
        all_or_nothing=facts.envelope.submitted_locally,
    )
    made = [copy for copy in copies if copy.added]
    if len(made) <= policy.max_copies:
        return CopyOutcome(copies, tuple(notices))
    text = f"{len(made)} copies are asked for, more than [policy] max_copies = {policy.max_copies}"
    return CopyOutcome(tuple(made[: policy.max_copies]), tuple(notices), Notice(text=text, error=True))


def copies_for(
    requested: Sequence[CopyRequests],
    classes: Sequence[CopyClass],
    matches: Callable[[When, Direction], bool],
    own: frozenset[str],
    envelope: Sequence[tuple[str, Resolution]],
    *,
    all_or_nothing: bool = False,
) -> tuple[tuple[Copy, ...], list[Notice]]:
    """Return the copies that a message gets, in a stable order, and what is wrong with the values.

    De-duplicated across classes, directions and recipients. A copy whose address is a recipient
    already is made all the same, in that recipient's place: a later milter may refuse the recipient,
    which is not reported here. It is not made where no recipient can be refused alone, nor where only
    the mail to that recipient itself is to be copied there. A tracked copy of that
    kind goes directly: what comes to the recipient is the copy. A journal report says more than the
    message does, so it is made beside it.

    Args:
        requested: what the chains of the author and the recipients ask for.
        classes: the copy classes of the configuration.
        matches: whether the other party of a direction matches a ``with=``.
        own: the keys of the author's own addresses; a value on the author's chain naming one is skipped.
        envelope: the envelope recipients, as the MTA takes them, and what they mean.
        all_or_nothing: whether a recipient cannot be refused without the message.
    """
    notices: dict[str, Notice] = {}
    merged: dict[str, list[CopyRequest]] = {}
    leader: dict[str, str] = {}
    for copy_class in classes:
        name, secret = copy_class.name, copy_class.confidential
        for item in requested:
            for bad in item.broken:
                if bad.copy_class == name:
                    # One that is not for this message holds nothing up, but is not passed over in silence.
                    concerns = bad.when is None or matches(bad.when, bad.direction)
                    if concerns or bad.text not in notices:
                        notices[bad.text] = Notice(
                            text=bad.text, confidential=secret, invalid_value_of=name if concerns else None, error=True
                        )
            for one in item.requests:
                if one.copy_class != name or (left_out := why_left_out(one, matches, own)) == "with":
                    continue
                if left_out == "own-address":
                    notice = _own_address(one, secret=secret)
                    notices[notice.text] = notice
                    continue
                chief = next((leader[key] for key in sorted(one.keys) if key in leader), one.address.key)
                leader.update(dict.fromkeys(one.keys, chief))
                merged.setdefault(chief, []).append(one)
    for item in requested:
        notices.update((remark.text, remark) for remark in item.remarks)
    return _merged(merged.values(), classes, envelope, all_or_nothing=all_or_nothing), list(notices.values())


def why_left_out(
    one: CopyRequest, matches: Callable[[When, Direction], bool], own: frozenset[str]
) -> Literal["with", "own-address"] | None:
    """Return why a message does not get a copy that a chain asks for; ``None``: it does.

    Args:
        one: what is asked for.
        matches: whether the other party of a direction matches a ``with=``.
        own: the keys of the author's own addresses.
    """
    if one.when is not None and not matches(one.when, one.direction):
        return "with"
    if one.direction == "sent" and not own.isdisjoint(one.keys):
        return "own-address"
    return None


def _merged(
    groups: Collection[Sequence[CopyRequest]],
    classes: Sequence[CopyClass],
    envelope: Sequence[tuple[str, Resolution]],
    *,
    all_or_nothing: bool,
) -> tuple[Copy, ...]:
    """Return one copy for all that ask for the same address."""
    modes = {copy_class.name: copy_class.mode for copy_class in classes}
    deliveries = {copy_class.name: copy_class.delivery for copy_class in classes}
    confidential = {copy_class.name for copy_class in classes if copy_class.confidential}
    wanted = {key for group in groups for one in group for key in one.keys}
    present: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for text, resolution in envelope if wanted else ():
        for key in resolution.identity_keys & wanted:
            present[key].append((text, resolution.address.key))
    copies = []
    for group in groups:
        keys = {key for one in group for key in one.keys}
        already = dict(same for key in sorted(keys & present.keys()) for same in present[key])
        reasons = tuple(reason for one in group for reason in one.reasons)
        mode = min((modes[one.copy_class] for one in group), key=_MODES.index)
        delivery = _delivery([deliveries[one.copy_class] for one in group if modes[one.copy_class] == mode])
        if already and delivery == "tracked":
            delivery = "direct"
        copies.append(
            Copy(
                address=group[0].address,
                reasons=reasons,
                mode=mode,
                already=tuple(already),
                openly=confidential.isdisjoint(one.copy_class for one in group),
                added=not already
                or delivery == "journal"
                or not (all_or_nothing or _only_of_itself(reasons, set(already.values()))),
                delivery=delivery,
            )
        )
    return tuple(copies)


def _delivery(asked: Collection[Delivery]) -> Delivery:
    """Return how one copy for several classes travels: so that each has what it asks for, and more."""
    return max(asked, key=_DELIVERIES.index)


def _only_of_itself(reasons: Sequence[CopyReason], recipients: Collection[str]) -> bool:
    """Whether only mail to some recipients is to be copied, and to themselves: what comes to them is the copy."""
    addresses = [parse_address(reason.recipient) if reason.recipient is not None else None for reason in reasons]
    return all(address is not None and address.key in recipients for address in addresses)


def _own_address(one: CopyRequest, *, secret: bool) -> Notice:
    reason = one.reasons[0]
    text = (
        f"{reason.attribute} at {reason.dn} names the author's own address {one.address}:"
        " no copy of their own mail is sent to them"
    )
    return Notice(text=text, confidential=secret)
