"""The product, top to bottom: from an envelope and a directory to a decision.

The daemon calls it at DATA, and once more at the end of the message when the decision depends on
header fields: the second call goes on from the facts of the first. ``explain`` and the tests call the same
function. It does no I/O of its own, keeps no clock and writes no log: all it knows comes in, all it finds
out goes out in the decision and its basis.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from ldapmilter.errors import AmbiguousEntry, DirectoryUnavailable, StillReading
from ldapmilter.policy import list_choice, lists
from ldapmilter.policy.basis import Basis
from ldapmilter.policy.betrayal import betrayals, confidential_copies_behind
from ldapmilter.policy.copies import CopyOutcome, decide_copies
from ldapmilter.policy.facts import Facts
from ldapmilter.policy.from_outcome import FromChoice, choose_value, decide_from
from ldapmilter.policy.identity import AUTHENTICATED_USER, Sender, as_claimed, decided_before, recipient_of_relay
from ldapmilter.policy.memory import Memory
from ldapmilter.policy.model import TEMPFAIL_REPLY, Decision, ListPost, Notice, Refusal
from ldapmilter.policy.service_logins import why_unknown
from ldapmilter.policy.verdict import NO_SUCH_RECIPIENT, WAITS_FOR_DIRECTORY, answer, causes_to_wait

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from ldapmilter.directory.interface import Directory, RememberingDirectory
    from ldapmilter.message import Envelope, Headers
    from ldapmilter.policy.effect import FromChange, HeaderChange
    from ldapmilter.policy.from_outcome import FromStays
    from ldapmilter.policy.list_values import UnusedSetting
    from ldapmilter.policy.settings import DatedPolicy, Policy

_WAITS_FOR_LOGIN = ("a login that is no account's",)
_WAITS_FOR_DOMAIN = ("a [relay] domain that is nobody's",)


def decide(
    envelope: Envelope,
    directory: RememberingDirectory,
    policy: Policy,
    *,
    today: date,
    headers: Headers | None = None,
    basis: Basis | None = None,
) -> Decision:
    """Return what happens to a message, with every reason.

    Args:
        envelope: what the MTA said before the header.
        directory: the directory, bound to this message's deadline.
        policy: the configuration.
        today: the day in UTC.
        headers: the header fields that an earlier call asked for (:attr:`Decision.headers_needed`);
            ``None`` at DATA.
        basis: takes what the decision is made from. The decision goes on from what an earlier one for the same
            message left there, as long as configuration and day are the same and nothing was missing or stale.

    Never raises for the directory: what could not be asked ends in ``tempfail``, or in
    ``incomplete`` where ``[policy] directory_failure = accept`` (the directory is then lenient).
    """
    author: Sender | None = None
    basis = basis if basis is not None else Basis()
    try:
        if (known := _by_envelope_alone(envelope, directory, policy)) is not None:
            return known
        facts = _known_facts(basis, directory, policy.on(today))
        memory = facts.memory if facts is not None else Memory(envelope, directory, policy.on(today))
        author = _identify(envelope, memory, policy, headers)
        if author.unknown_login and policy.identity.unknown_login == "tempfail":
            notice = Notice(text=why_unknown(envelope.login or "", policy.identity.service_logins))
            return replace(_held(author, policy, directory, [notice]), waits_for=_WAITS_FOR_LOGIN)
        if facts is None or facts.author is not author:
            facts = Facts(envelope, directory, policy, memory, author)
        else:
            memory.look_up(author)  # the header may name a person who is not remembered yet, if only the mailbox itself
        nothing = facts.quiet and not author.asks_for_person
        return _nothing_to_do(facts, basis) if nothing else _Deciding(facts, headers).decision(basis)
    except DirectoryUnavailable as error:
        author = author or Sender(identity=as_claimed(envelope))
        if policy.directory_failure == "accept":
            return Decision(
                identity=author.identity,
                mode=policy.mode,
                incomplete=(str(error),),
                searches=directory.searches,
                still_reading=directory.still_reading,
            )
        if isinstance(error, StillReading):
            secret = error.confidential
            notice = Notice(text=str(error), confidential=secret, of_list=not secret)
            return replace(_held(author, policy, directory, [notice]), still_reading=True)
        notice = Notice(text=f"directory unavailable: {error}", error=True)
        return replace(_held(author, policy, directory, [notice]), unavailable=True, waits_for=WAITS_FOR_DIRECTORY)


def _known_facts(basis: Basis, directory: RememberingDirectory, dated: DatedPolicy) -> Facts | None:
    """Return what an earlier decision for the same message was made from, if that may be gone on from."""
    facts = basis.facts
    if facts is None or not facts.stand(dated):
        return None
    facts.go_on(directory)
    return facts


def decide_whole(
    envelope: Envelope,
    headers: Headers,
    directory: RememberingDirectory,
    policy: Policy,
    *,
    today: date,
    basis: Basis | None = None,
) -> Decision:
    """Return what happens to a message whose header is at hand, as the daemon comes to it in two steps."""
    basis = basis if basis is not None else Basis()
    decision = decide(envelope, directory, policy, today=today, basis=basis)
    if decision.headers_needed:
        return decide(envelope, directory, policy, today=today, headers=headers, basis=basis)
    return decision


def _by_envelope_alone(envelope: Envelope, directory: Directory, policy: Policy) -> Decision | None:
    """Return the decision of a message decided before, or to the relay's domain; ``None``: of any other.

    Where the directory hosts that domain by mistake, mail to its users waits until the relay has another one.
    """
    if (why := decided_before(envelope, policy.identity)) is not None:
        return Decision(identity=as_claimed(envelope), mode=policy.mode, decided_before=why)
    recipient = recipient_of_relay(envelope, policy.relay_domain)
    if recipient is None:
        return None
    if policy.relay_domain is not None and directory.hosts(policy.relay_domain):
        why = f"{recipient} is a recipient, and [relay] domain is hosted by this directory: give the relay another one"
        author = Sender(identity=as_claimed(envelope))
        return replace(_held(author, policy, directory, [Notice(text=why, error=True)]), waits_for=_WAITS_FOR_DOMAIN)
    notice = Notice(text=f"{recipient} is a recipient, in the domain of the copy relay: nobody may write there")
    return Decision(
        identity=as_claimed(envelope),
        verdict="reject",
        smtp_reply=NO_SUCH_RECIPIENT,
        mode=policy.mode,
        verdict_mode=policy.hold_mode,
        warnings=(notice,),
    )


def _identify(envelope: Envelope, memory: Memory, policy: Policy, headers: Headers | None) -> Sender:
    try:
        return memory.sender(headers)
    except AmbiguousEntry as error:
        if policy.directory_failure == "tempfail":
            raise
        # What is known is applied: who receives the mail is known.
        if headers is None:
            return Sender(identity=as_claimed(envelope), unclear=str(error))
        # It may be the person whom a header names that is not clear: the mailbox is known all the same.
        author = _identify(envelope, memory, policy, None)
        return replace(author, unclear=str(error))


def _held(author: Sender, policy: Policy, directory: Directory, warnings: Sequence[Notice]) -> Decision:
    """Let the message wait: as if nothing had been decided."""
    return Decision(
        identity=author.identity,
        verdict="tempfail",
        smtp_reply=TEMPFAIL_REPLY,
        mode=policy.mode,
        verdict_mode=policy.hold_mode,
        warnings=tuple(warnings),
        waits_because=tuple(notice.text for notice in warnings),
        searches=directory.searches,
        stale=directory.stale,
    )


def _nothing_to_do(facts: Facts, basis: Basis) -> Decision:
    """Return the decision on a message of which nobody's chains say anything: what :class:`_Deciding` comes to then."""
    basis.forget()
    basis.facts, basis.copies, basis.from_choice = facts, CopyOutcome(), FromChoice()
    directory, author = facts.directory, facts.author
    return Decision(
        identity=author.identity,
        unknown_client=facts.unknown_client,
        mode=facts.policy.mode,
        incomplete=directory.failures if author.unclear is None else (*directory.failures, author.unclear),
        still_reading=directory.still_reading,
        searches=directory.searches,
        stale=directory.stale,
    )


class _Deciding:
    """One decision in the making: the steps that use what was looked up."""

    def __init__(self, facts: Facts, headers: Headers | None) -> None:
        self.facts = facts
        self.directory = facts.directory
        self.policy = facts.policy
        self.author = facts.author
        self.headers = headers
        self.notices = [*facts.notices]
        self.truncations = {**facts.truncations}
        self.headers_needed: set[str] = set()
        self.header_changes: list[HeaderChange] = []
        self.list_post: ListPost | None = None
        self.refusal: Refusal | None = None
        self.from_stays: list[FromStays] = []
        self.unused_settings: list[UnusedSetting] = []
        if self.author.unknown_person is not None:
            text = f"X-Authenticated-User {self.author.unknown_person!r} names no account: ignored"
            self.notices.append(Notice(text=text))

    def decision(self, basis: Basis) -> Decision:
        """Put the parts together."""
        known = basis if basis.facts is self.facts else Basis()
        copies = self._copies(known.copies)
        choice = known.from_choice or choose_value(self.facts)
        change = self._from_change(choice)
        self._warn_of_betrayal()
        basis.facts, basis.copies, basis.from_choice = self.facts, copies, choice
        basis.from_stays, basis.unused_settings = tuple(self.from_stays), tuple(self.unused_settings)
        causes = causes_to_wait(self.policy, self.truncations.values(), self.notices)
        self.notices.extend(self.truncations.values())
        accepted = self.truncations if self.policy.directory_failure == "accept" else ()
        return Decision(
            identity=self.author.identity,
            **answer(causes, self.refusal, self.policy),
            unknown_client=self.facts.unknown_client,
            from_change=change,
            header_changes=lists.merged(self.header_changes, self.list_post),
            sender_change=self.list_post.sender_change if self.list_post is not None else None,
            list_post=self.list_post,
            refusal=self.refusal,
            copies=copies.copies,
            mode=self.policy.mode,
            warnings=tuple(self.notices),
            incomplete=(*self.directory.failures, *accepted, *filter(None, [self.author.unclear])),
            still_reading=self.directory.still_reading,
            headers_needed=frozenset(self.headers_needed) if self.headers is None else frozenset(),
            searches=self.directory.searches,
            stale=self.directory.stale,
        )

    def _copies(self, known: CopyOutcome | None) -> CopyOutcome:
        outcome = known or decide_copies(self.facts)
        self.notices.extend(outcome.notices)
        if outcome.too_many is not None:
            self.truncations[outcome.too_many.text] = outcome.too_many
        return outcome

    def _warn_of_betrayal(self) -> None:
        """Say which confidential copies come to whom they are about; last, since nothing depends on it."""
        every = [one for asked in self.facts.requests for one in asked.requests]
        secret = confidential_copies_behind(every, self.policy.confidential, self.facts.matches) if every else []
        if secret:
            authors = [one for one in (self.author.resolution, self.author.person) if one is not None and one.entries]
            meant = {one.address.text: one for party in self.facts.recipients if (one := party.resolution) is not None}
            self.notices.extend(betrayals(secret, authors, meant, self.directory))

    def _from_change(self, choice: FromChoice) -> FromChange | None:
        """Return the From that the message leaves with; notes what else becomes of it, and what has to be read."""
        if self.author.asks_for_person:
            self.headers_needed.add(AUTHENTICATED_USER)
        outcome = decide_from(self.facts, choice, self.headers)
        self.headers_needed |= outcome.headers_needed
        self.header_changes.extend(outcome.header_changes)
        self.notices.extend(outcome.notices)
        self.refusal, self.from_stays = outcome.refusal, outcome.stays
        return self._as_posted(outcome.change)

    def _as_posted(self, change: FromChange | None) -> FromChange | None:
        """Return the From of what may be a post to a list; notes what else becomes of it."""
        if not self.facts.lists:
            return change
        self.notices.extend(lists.invalid_values(self.facts))
        addressed = list_choice.addressed(self.facts)
        if not addressed:
            return change
        self.headers_needed |= lists.FIELDS
        refused = self.refusal is not None and self.policy.from_policy.mode == "apply"
        if self.headers is None or refused:
            return change
        outcome = lists.post(addressed, self.facts, self.headers, lists.Before(change, self.header_changes))
        self.notices.extend(outcome.notices)
        self.unused_settings = outcome.unused
        self.list_post = outcome.post
        posted = outcome.post.from_change if outcome.post is not None else None
        if posted is None or change is None:
            return posted or change
        if posted.mode != change.mode and "apply" in {posted.mode, change.mode}:
            # The message leaves with the one that is carried out; the other is told of.
            told, carried_out = (change, posted) if posted.mode == "apply" else (posted, change)
            self.header_changes.append(told)
            return carried_out
        return posted
