"""Which list decides on a message: it has one header for all its recipients.

A list counts that is the only recipient, or stands where everybody sees it. Of several that do, the first decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ldapmilter.address import parse_address
from ldapmilter.mailbox.reading import read_from
from ldapmilter.policy.model import Notice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ldapmilter.message import Headers
    from ldapmilter.policy.facts import Facts
    from ldapmilter.policy.list_values import MailingList

_MOST_NAMED = 200
"""Addresses of To and Cc that are looked up: in whatever spelling a list stands there, it is among the first."""


class Choice(NamedTuple):
    """The list that decides."""

    chosen: MailingList
    only: bool
    """Whether it is the one list that is addressed; of several, one decides on the From alone."""
    everybody: bool
    """Whether there is no recipient beside it."""


def addressed(facts: Facts) -> list[MailingList]:
    """Return the lists with settings among the recipients of the envelope, each once, in order."""
    return list({posts.entry.dn: posts for posts in facts.lists if posts.acts}.values())


def choose(lists: Sequence[MailingList], facts: Facts, headers: Headers, notices: list[Notice]) -> Choice | None:
    """Return the list that decides; ``None``: none does, and a notice says why.

    Args:
        lists: those that are addressed, at least one.
        facts: the parties of the message.
        headers: its fields To and Cc.
        notices: takes what an administrator should know.

    Raises:
        DirectoryUnavailable: an address in To or Cc could not be looked up.
    """
    first = lists[0]
    entries = {entry.dn for one in facts.recipients if one.resolution is not None for entry in one.resolution.entries}
    strangers = any(one.resolution is None or not one.resolution.entries for one in facts.recipients)
    everybody = not strangers and entries == {first.entry.dn}
    if everybody:
        return Choice(first, only=True, everybody=True)
    places = _places(lists, facts, headers)
    if len(lists) == 1:
        if first.entry.dn in places:
            return Choice(first, only=True, everybody=False)
        text = f"{first.entry.name} is in neither To nor Cc: nothing of the list's settings applies"
        notices.append(Notice(text=text))
        return None
    names = ", ".join(one.entry.name.text for one in lists)
    if not places:
        notices.append(Notice(text=f"several lists with settings, none of them in To or Cc: none applies: {names}"))
        return None
    chosen = min((one for one in lists if one.entry.dn in places), key=lambda one: places[one.entry.dn])
    text = f"several lists with settings: {chosen.entry.name} decides on From, and nothing else applies: {names}"
    notices.append(Notice(text=text))
    return Choice(chosen, only=False, everybody=False)


def _places(lists: Sequence[MailingList], facts: Facts, headers: Headers) -> dict[str, int]:
    """Return where lists stand in To, then Cc, by DN; those that stand in neither are left out."""
    named = [mailbox.address for name in ("to", "cc") for mailbox in read_from(headers.values(name)).mailboxes]
    dns = {key: one.entry.dn for one in lists for key in one.entry.own_keys}
    for text, one in zip(facts.envelope.recipients, facts.recipients, strict=True):
        resolution = one.resolution
        if resolution is not None and resolution.entry is not None and (address := parse_address(text)) is not None:
            dns.setdefault(address.key, resolution.entry.dn)
    wanted = {one.entry.dn for one in lists}
    if not wanted <= {dns.get(address.key) for address in named}:
        # By the name of an alias domain, while the envelope has another spelling.
        unknown = [one for one in named[:_MOST_NAMED] if one.key not in dns and facts.directory.hosts(one.domain)]
        for key, resolution in facts.directory.resolve(unknown).items() if unknown else ():
            if resolution.entry is not None and resolution.match in {"address", "alias-domain"}:
                dns[key] = resolution.entry.dn
    places: dict[str, int] = {}
    for place, address in enumerate(named):
        if (dn := dns.get(address.key)) in wanted and dn is not None:
            places.setdefault(dn, place)
    return places
