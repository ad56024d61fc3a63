"""Why settings of lists change nothing in a message: for ``explain``, after the decision, from the same facts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ldapmilter.policy.copy_requests import Subject
from ldapmilter.policy.list_values import mailing_list
from ldapmilter.policy.not_applied import NotApplied, UnusedValue, nearest_first

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ldapmilter.directory.model import Entry, Holder
    from ldapmilter.policy.asked import Asked
    from ldapmilter.policy.basis import Basis
    from ldapmilter.policy.levels import PassedOver
    from ldapmilter.policy.list_values import MailingList
    from ldapmilter.policy.model import Decision
    from ldapmilter.policy.not_applied import ValueCause

_MOST_LISTS = 5
"""Lists whose values are told of."""


def why(decision: Decision, basis: Basis, asked: Asked) -> Iterator[NotApplied]:
    """Yield why settings of the lists that are addressed do not count; nothing where all do, or there are none.

    Raises:
        DirectoryUnavailable: something that matters could not be asked.
    """
    policy = asked.facts.policy
    recipients = (one.resolution.entry for one in asked.facts.recipients if one.resolution is not None)
    groups = list(dict.fromkeys(entry for entry in recipients if entry is not None and entry.kind == "group"))
    if not groups or (decision.refusal is not None and policy.from_policy.mode == "apply"):
        return
    chains = asked.facts.directory.chains(groups)
    looked_at: dict[str, Holder] = {}
    found: list[UnusedValue] = []
    for group in groups[:_MOST_LISTS]:
        chain = chains[group.dn]
        looked_at.update((holder.dn, holder) for holder in chain)
        notes: list[PassedOver] = []
        settings = mailing_list(group, chain, policy.lists, asked.facts.directory, notes)
        subject = Subject(direction="received", chain=chain, account=None, recipient=group.name.text)
        found += (asked.unused(note, subject) for note in notes)
        if settings is not None:
            found += _settings(settings, decision, basis, policy.lists.mode)
    values = nearest_first(found)
    if values:
        holders = tuple(looked_at.values())
        yield NotApplied(way="list", cause=values[0].cause, text=values[0].text, values=values, looked_at=holders)


def _settings(settings: MailingList, decision: Decision, basis: Basis, mode: str) -> Iterator[UnusedValue]:
    """Yield the settings of a list that change nothing although no value hides them."""
    every = [one.reason for one in settings.each()]
    nothing = _why_nothing(settings.entry, decision, mode) if settings.acts else ("off", "keep, or FALSE")
    if nothing is not None:
        cause, text = nothing
        yield from (UnusedValue(cause=cause, text=text, reason=reason) for reason in every)
        return
    for one in basis.unused_settings:
        if one.reason in every:
            yield UnusedValue(cause=one.cause, text=one.text, reason=one.reason)


def _why_nothing(group: Entry, decision: Decision, mode: str) -> tuple[ValueCause, str] | None:
    """Return why nothing of a list counts; ``None``: it is the list that decides."""
    post = decision.list_post
    if post is None:
        return "not-addressed", f"{group.name} stands in neither To nor Cc, and is not the only recipient"
    if post.address != group.name:
        return "outranked", f"{post.address} decides: it stands first in To, then Cc"
    if post.left_alone is not None:
        return "already", post.left_alone
    return ("mode", f"[lists] is in mode {mode}") if mode != "apply" else None
