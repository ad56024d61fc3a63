"""The product, top to bottom: from an envelope and a directory to a decision.

The daemon calls it at DATA, and once more at the end of the message when the decision depends on
header fields; ``explain`` and the tests call the same function. It does no I/O of its own, keeps no
clock and writes no log: all it knows comes in, all it finds out goes out in the decision.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ldapmilter.address import envelope_address, parse_address
from ldapmilter.errors import AmbiguousEntry, DirectoryUnavailable
from ldapmilter.identity import AUTHENTICATED_USER, Author, as_claimed, decided_before, identify
from ldapmilter.policy import from_rewrite
from ldapmilter.policy.copies import Subject, ask, copies_for
from ldapmilter.policy.matching import Parties, Party, Seen, group_keys
from ldapmilter.policy.model import TEMPFAIL_REPLY, Copy, Decision, FromChange, Notice

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
    from datetime import date

    from ldapmilter.directory.interface import Directory
    from ldapmilter.directory.model import Chain, Entry, Expansion, Resolution
    from ldapmilter.message import Envelope, Headers
    from ldapmilter.policy.copies import Asked
    from ldapmilter.policy.model import Direction, Mode, Policy
    from ldapmilter.policy.rules import When

# An automatic reply, or a redirect by a mail filter, that a mailbox server made is not a person
# writing: its From stays (its copies do not). "no" is RFC 3834's way of saying "not automatic".
_EXEMPTING_FIELDS = frozenset({"auto-submitted", "x-zimbra-forwarded"})


def decide(
    envelope: Envelope, directory: Directory, policy: Policy, *, today: date, headers: Headers | None = None
) -> Decision:
    """Return what happens to a message, with every reason.

    Args:
        envelope: what the MTA said before the header.
        directory: the directory, bound to this message's deadline.
        policy: the configuration.
        today: the day in UTC.
        headers: the header fields that an earlier call asked for (:attr:`Decision.headers_needed`);
            ``None`` at DATA.

    Never raises for the directory: what could not be asked ends in ``tempfail``, or in
    ``incomplete`` where ``[policy] directory_failure = accept`` (the directory is then lenient).
    """
    author = Author(identity=as_claimed(envelope))
    if (why := decided_before(envelope, policy.identity)) is not None:
        return Decision(identity=author.identity, mode=policy.mode, decided_before=why)
    try:
        addresses = [envelope_address(text) for text in (envelope.sender, *envelope.recipients)]
        directory.prefetch(envelope.login, [address for address in addresses if address is not None])
        author = _identify(envelope, directory, policy, headers)
        if author.unknown_login and policy.identity.unknown_login == "tempfail":
            text = f"the login {envelope.login!r} resolves to no account: [identity] unknown_login = tempfail"
            return _held(author, policy, directory, [Notice(text=text)])
        return _Deciding(envelope, directory, policy, today, headers, author).decision()
    except DirectoryUnavailable as error:
        if policy.directory_failure == "accept":
            return Decision(
                identity=author.identity, mode=policy.mode, incomplete=(str(error),), searches=directory.searches
            )
        return replace(
            _held(author, policy, directory, [Notice(text=f"directory unavailable: {error}")]), unavailable=True
        )


def _identify(envelope: Envelope, directory: Directory, policy: Policy, headers: Headers | None) -> Author:
    try:
        return identify(envelope, directory, policy.identity, headers)
    except AmbiguousEntry as error:
        if policy.directory_failure == "tempfail":
            raise
        # What is known is applied: who receives the mail is known.
        return Author(identity=as_claimed(envelope), unclear=str(error))


def _held(author: Author, policy: Policy, directory: Directory, warnings: Sequence[Notice]) -> Decision:
    """Let the message wait: as if nothing had been decided."""
    return Decision(
        identity=author.identity,
        verdict="tempfail",
        smtp_reply=TEMPFAIL_REPLY,
        mode=policy.mode,
        verdict_mode=policy.hold_mode,
        warnings=tuple(warnings),
        searches=directory.searches,
        stale=directory.stale,
    )


@dataclass(frozen=True, slots=True)
class Recipient:
    """One envelope recipient and what it resolves to."""

    text: str
    resolution: Resolution | None
    """``None`` for what is no address: outside, and in nobody's directory."""

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The account or group, if any (or, in hand-made data, more than one)."""
        return self.resolution.entries if self.resolution is not None else ()


@dataclass(frozen=True, slots=True)
class _Question:
    """Some parties of a message, whose chains are asked for copies together."""

    direction: Direction
    parties: tuple[tuple[Resolution, tuple[str, ...]], ...]
    behind: str | None = None
    """The DN of the group or forwarding account that the parties are behind."""


class _Deciding:
    """One decision in the making: the looked-up parties, and the steps that use them."""

    def __init__(
        self,
        envelope: Envelope,
        directory: Directory,
        policy: Policy,
        today: date,
        headers: Headers | None,
        author: Author,
    ) -> None:
        self.directory = directory
        self.policy = policy
        self.today = today
        self.headers = headers
        self.author = author
        self.envelope = envelope
        self.notices: list[Notice] = []
        self.truncations: dict[str, None] = {}
        self.recipients = self._look_up_recipients()
        if author.unknown_person is not None:
            text = f"X-Authenticated-User {author.unknown_person!r} names no account: ignored"
            self.notices.append(Notice(text=text))
        self.expansions = self._expand({entry for recipient in self.recipients for entry in recipient.entries})
        self.asked = self._ask()
        self.author_chain = self._chain(author.resolution) if author.resolution is not None else ()
        self.groups = self._look_up_groups()
        self.parties = [self._parties(recipient) for recipient in self.recipients]
        self.sender_party = self._sender_party()

    # -- looking up -------------------------------------------------------------------------

    def _look_up_recipients(self) -> list[Recipient]:
        addresses = [envelope_address(text) for text in self.envelope.recipients]
        resolved = self.directory.resolve([address for address in addresses if address is not None])
        recipients = [
            Recipient(text, resolved[address.key] if address is not None else None)
            for text, address in zip(self.envelope.recipients, addresses, strict=True)
        ]
        for recipient in recipients:
            if len(recipient.entries) > 1:
                names = " and ".join(sorted(entry.dn for entry in recipient.entries))
                text = f"two entries answer to the recipient {recipient.text}: {names}"
                self.notices.append(Notice(text=text, error=True))
        return recipients

    def _expand(self, entries: Collection[Entry]) -> Mapping[str, Expansion]:
        expansions = self.directory.expand(entries) if entries else {}
        self.truncations.update((expansion.truncated, None) for expansion in expansions.values() if expansion.truncated)
        return expansions

    def _ask(self) -> list[Asked]:
        """Ask the chains of the author, of every recipient, and of everybody behind one."""
        questions: dict[Hashable, _Question] = {}
        for author in (self.author.resolution, self.author.person):
            if author is not None:
                questions[("sent", _names(author), self.today)] = _Question("sent", ((author, ()),))
        for recipient in self.recipients:
            resolution = recipient.resolution
            if resolution is None or resolution.hosted_domain is None or not resolution.known:
                continue  # nobody here, or nobody we could ask about
            key = ("received", _names(resolution), resolution.address.text, self.today)
            questions[key] = _Question("received", ((resolution, ()),))
        for dn, expansion in self.expansions.items():
            if expansion.members:
                members = tuple((member.resolution, member.path) for member in expansion.members)
                questions[("behind", dn, self.today)] = _Question("received", members, dn)
        answers = self.directory.derived(questions, lambda keys: self._answer({key: questions[key] for key in keys}))
        return [answers[key] for key in questions]

    def _answer(self, questions: Mapping[Hashable, _Question]) -> dict[Hashable, Asked]:
        entries = {
            entry
            for question in questions.values()
            for resolution, _path in question.parties
            for entry in resolution.entries
        }
        self._read_again(questions.values())
        chains = self.directory.chains(entries) if entries else {}
        subjects = {key: list(self._subjects(question, chains)) for key, question in questions.items()}
        return ask(subjects, self.policy.copy_classes, self.today, self.directory)

    def _read_again(self, questions: Collection[_Question]) -> None:
        """Read what the parties came from: an answer stands while their addresses mean what they do now."""
        for question in questions:
            if question.direction == "sent":
                self.directory.sender(question.parties[0][0].address)
        behind = {question.behind for question in questions}
        direct = [q.parties[0][0].address for q in questions if q.direction == "received" and q.behind is None]
        roots: dict[str, Entry] = {}
        for recipient in self.recipients:
            for entry in recipient.entries:
                if entry.dn in behind and recipient.resolution is not None:
                    roots[entry.dn] = entry
                    direct.append(recipient.resolution.address)
        self.directory.resolve(direct)
        self.directory.expand(roots.values())

    def _subjects(self, question: _Question, chains: Mapping[str, Chain]) -> Iterator[Subject]:
        """Yield each party once, with the chain that its copies come from."""
        seen: set[str] = set()
        for resolution, path in question.parties:
            recipient = resolution.address.text if question.direction == "received" else None
            for entry in resolution.entries:
                if entry.dn not in seen:
                    seen.add(entry.dn)
                    account = entry.name if entry.kind == "account" else None
                    yield Subject(
                        direction=question.direction,
                        chain=chains[entry.dn],
                        account=account,
                        recipient=recipient,
                        path=path,
                    )
            if not resolution.entries and (chain := self._chain(resolution)):
                yield Subject(direction=question.direction, chain=chain, account=None, recipient=recipient, path=path)

    def _chain(self, resolution: Resolution) -> Chain:
        """Return the levels for one party; an unknown login outside the hosted domains has the global one."""
        if (entry := resolution.entry) is not None:
            return self.directory.chains([entry])[entry.dn]
        if not resolution.known or resolution.entries:
            return ()
        if resolution.hosted_domain is None and resolution is not self.author.resolution:
            return ()
        return self.directory.domain_chain(resolution.hosted_domain or "")

    def _look_up_groups(self) -> dict[str, frozenset[str]]:
        """Return, for each ``group:`` operand in any rule that may count, who is in the group."""
        conditions = {when for asked in self.asked for when in asked.conditions()}
        conditions |= from_rewrite.conditions(self.author_chain, self.policy.from_policy)
        keys = {("group", when.operand) for when in conditions if when.kind == "group"}
        found = self.directory.derived(keys, lambda missing: {key: self._read_group(key[1]) for key in missing})
        for _keys, truncated in found.values():
            self.truncations.update(dict.fromkeys(truncated))
        return {operand: members for (_, operand), (members, _) in found.items()}

    def _read_group(self, operand: str) -> tuple[frozenset[str], tuple[str, ...]]:
        address = parse_address(operand)
        if address is None:
            return frozenset(), ()
        own = self.directory.resolve([address])[address.key]
        expansions = self.directory.expand([entry for entry in own.entries if entry.kind == "group"])
        members = [
            member.resolution
            for expansion in expansions.values()
            for member in expansion.members
            if not member.by_forward
        ]
        return group_keys(own, members), tuple(e.truncated for e in expansions.values() if e.truncated)

    def _parties(self, recipient: Recipient) -> Parties:
        """Index what a recipient can match by: itself, then (for a group) its members."""
        direct = Party()
        if recipient.resolution is None:
            direct.add_outsider(Seen(recipient.text))
        else:
            direct.add(recipient.resolution)
        groups = {("party", entry.version): entry for entry in recipient.entries if entry.kind == "group"}
        members = self.directory.derived(groups, lambda keys: {key: self._members(groups[key]) for key in keys})
        return Parties(direct, tuple(members.values()))

    def _members(self, group: Entry) -> Party:
        party = Party()
        for member in self.directory.expand([group])[group.dn].members:
            if not member.by_forward:
                party.add(member.resolution, member.path)
        return party

    def _sender_party(self) -> Party:
        """Index the author's addresses, else the envelope sender: what ``with`` of a received copy sees."""
        party = Party()
        resolution = self.author.resolution
        if resolution is None:
            address = envelope_address(self.envelope.sender)
            resolution = self.directory.sender(address) if address is not None else None
        if resolution is None:
            party.add_outsider(Seen(self.envelope.sender))
        else:
            party.add(resolution)
        return party

    # -- deciding ---------------------------------------------------------------------------

    def decision(self) -> Decision:
        """Put the parts together."""
        copies = self._copies()
        change, headers_needed = self._from_change()
        waits = self._must_wait()
        accepted = self.truncations if self.policy.directory_failure == "accept" else ()
        return Decision(
            identity=self.author.identity,
            verdict="tempfail" if waits else "accept",
            smtp_reply=TEMPFAIL_REPLY if waits else None,
            verdict_mode="apply" if "apply" in waits else next(iter(waits), "apply"),
            from_change=change,
            copies=copies,
            mode=self.policy.mode,
            warnings=tuple(self.notices),
            incomplete=(*self.directory.failures, *accepted, *filter(None, [self.author.unclear])),
            headers_needed=headers_needed,
            searches=self.directory.searches,
            stale=self.directory.stale,
        )

    def _must_wait(self) -> list[Mode]:
        """Return the mode of each cause for which the message has to wait; empty: it goes on."""
        modes: list[Mode] = []
        if self.truncations:
            self.notices.extend(Notice(text=text, error=True) for text in self.truncations)
            if self.policy.directory_failure == "tempfail":
                modes.append(self.policy.hold_mode)
        broken = {notice.invalid_value_of for notice in self.notices}
        modes.extend(
            copy_class.mode
            for copy_class in self.policy.copy_classes
            if copy_class.name in broken and copy_class.invalid_value == "tempfail"
        )
        if "from" in broken and self.policy.from_policy.invalid_value == "tempfail":
            modes.append(self.policy.from_policy.mode)
        return modes

    def _copies(self) -> tuple[Copy, ...]:
        copies, notices = copies_for(
            self.asked,
            self.policy.copy_classes,
            self._matches,
            self.author.resolution if self.author.entry is not None else None,
            [recipient.resolution for recipient in self.recipients if recipient.resolution is not None],
        )
        self.notices.extend(notices)
        if len(copies) > self.policy.max_copies:
            text = f"{len(copies)} copies are asked for, more than [policy] max_copies = {self.policy.max_copies}"
            self.truncations[text] = None
            copies = copies[: self.policy.max_copies]
        return copies

    def _matches(self, when: When, direction: Direction) -> bool:
        if direction == "received":
            return self.sender_party.match(when, self.groups) is not None
        return any(parties.match(when, self.groups) is not None for parties in self.parties)

    def _from_change(self) -> tuple[FromChange | None, frozenset[str]]:
        """Return the From change and the header fields that have to be read before it is final."""
        policy = self.policy.from_policy
        needed = self._headers_for_identity()
        if self.author.resolution is None or self.author.identity.address is None:
            return None, needed
        parties = self.parties if policy.match_members else [Parties(parties.direct) for parties in self.parties]
        winner, notices = from_rewrite.choose_sender_rule(self.author_chain, parties, self.groups, policy)
        wish, more = from_rewrite.choose_recipient_from(self._recipient_chains(), policy)
        self.notices.extend(notices)
        if winner is None:
            winner = wish
            self.notices.extend(more)
        else:  # a broken wish is said aloud, a conflict between wishes that count for nothing is not
            self.notices.extend(notice for notice in more if notice.invalid_value_of)
        if winner is None:
            return None, needed
        needed |= self._headers_for_rule(winner)
        if self.headers is not None and self._exempt(self.headers):
            return None, needed
        entry = self.author.entry
        author = from_rewrite.Author(
            address=self.author.identity.address, display_name=entry.display_name if entry is not None else ""
        )
        change, notices = from_rewrite.render(winner, author, self.headers, policy, self.directory.hosts)
        self.notices.extend(notices)
        return change, needed

    def _headers_for_identity(self) -> frozenset[str]:
        wanted = self.headers is None and self.author.asks_for_person
        return frozenset({AUTHENTICATED_USER}) if wanted else frozenset()

    def _headers_for_rule(self, winner: from_rewrite.Winner) -> frozenset[str]:
        if self.headers is not None:
            return frozenset()
        needed = _EXEMPTING_FIELDS if self.author.identity.source == "mailbox-host" else frozenset()
        return needed | {"from"} if winner.template.needs_from_name else needed

    def _exempt(self, headers: Headers) -> bool:
        if self.author.identity.source != "mailbox-host":
            return False
        automatic = any(
            re.split(r"[;(]", value, maxsplit=1)[0].strip().lower() != "no"
            for value in headers.values("auto-submitted")
        )
        return automatic or bool(headers.values("x-zimbra-forwarded"))

    def _recipient_chains(self) -> list[tuple[Seen, Chain]]:
        chains = self.directory.chains({entry for recipient in self.recipients for entry in recipient.entries})
        found: list[tuple[Seen, Chain]] = []
        for recipient in self.recipients:
            resolution = recipient.resolution
            found.extend((Seen(recipient.text), chains[entry.dn]) for entry in recipient.entries)
            if resolution is not None and not resolution.entries and resolution.known and resolution.hosted_domain:
                found.append((Seen(recipient.text), self.directory.domain_chain(resolution.hosted_domain)))
        return found


def _names(resolution: Resolution) -> tuple[str, ...]:
    """Return what a resolution's chain depends on: its entries, or its address and domain."""
    if resolution.entries:
        return tuple(entry.dn for entry in resolution.entries)
    return (resolution.address.key, resolution.hosted_domain or "")
