"""The product, top to bottom: from an envelope and a directory to a decision.

The daemon calls it at DATA, and once more at the end of the message when the decision depends on
header fields; ``explain`` and the tests call the same function. It does no I/O of its own, keeps no
clock and writes no log: all it knows comes in, all it finds out goes out in the decision.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ldapmilter.address import parse_address
from ldapmilter.errors import DirectoryUnavailable
from ldapmilter.identity import NOBODY, Author, identify
from ldapmilter.policy import from_rewrite
from ldapmilter.policy.copies import Subject, copies_for
from ldapmilter.policy.levels import effective
from ldapmilter.policy.matching import Party, Seen, group_keys
from ldapmilter.policy.model import TEMPFAIL_REPLY, Copy, Decision, FromChange, Notice
from ldapmilter.policy.rules import CopyRule, parse_copy, parse_sender_rule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import date

    from ldapmilter.directory.interface import Directory
    from ldapmilter.directory.model import Chain, Entry, Expansion, Resolution
    from ldapmilter.message import Envelope, Headers
    from ldapmilter.policy.model import Mode, Policy
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
    author = Author(identity=NOBODY)
    try:
        author = identify(envelope, directory, policy.identity)
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


def _held(author: Author, policy: Policy, directory: Directory, warnings: Sequence[Notice]) -> Decision:
    """Let the message wait: as if nothing had been decided."""
    return Decision(
        identity=author.identity,
        verdict="tempfail",
        smtp_reply=TEMPFAIL_REPLY,
        mode=policy.mode,
        verdict_mode="apply" if policy.applies() else policy.mode,
        warnings=tuple(warnings),
        searches=directory.searches,
        stale=directory.stale,
    )


@dataclass(frozen=True, slots=True)
class Recipient:
    """One envelope recipient with everything that is behind it."""

    text: str
    resolution: Resolution | None
    """``None`` for what is no address: outside, and in nobody's directory."""
    expansions: tuple[Expansion, ...] = ()


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
        self.truncations: list[str] = []
        self.recipients = self._look_up_recipients()
        self.chains = self._look_up_chains()
        self.author_chain = self._author_chain()
        self.receiving = list(self._receiving())
        self.groups = self._look_up_groups()
        self.full_parties = [_party(recipient, members=True) for recipient in self.recipients]
        self.sender_party = self._look_up_sender_party()

    # -- looking up -------------------------------------------------------------------------

    def _look_up_recipients(self) -> list[Recipient]:
        addresses = [parse_address(text) for text in self.envelope.recipients]
        resolved = self.directory.resolve([address for address in addresses if address is not None])
        roots = {entry for resolution in resolved.values() for entry in resolution.entries}
        expansions = self.directory.expand(roots) if roots else {}
        recipients = []
        for text, address in zip(self.envelope.recipients, addresses, strict=True):
            resolution = resolved[address.key] if address is not None else None
            entries = resolution.entries if resolution is not None else ()
            recipients.append(Recipient(text, resolution, tuple(expansions[entry.dn] for entry in entries)))
            if len(entries) > 1:
                names = " and ".join(sorted(entry.dn for entry in entries))
                self.notices.append(Notice(text=f"two entries answer to the recipient {text}: {names}"))
        self.truncations.extend(
            dict.fromkeys(expansion.truncated for expansion in expansions.values() if expansion.truncated)
        )
        return recipients

    def _look_up_chains(self) -> dict[str, Chain]:
        entries = {entry for resolution, _ in self._everybody() for entry in resolution.entries}
        if self.author.entry is not None:
            entries.add(self.author.entry)
        return dict(self.directory.chains(entries)) if entries else {}

    def _everybody(self) -> Iterable[tuple[Resolution, tuple[str, ...]]]:
        """Every party that receives the mail here: envelope recipients, then who is behind them."""
        for recipient in self.recipients:
            if recipient.resolution is not None:
                yield recipient.resolution, ()
        for recipient in self.recipients:
            for expansion in recipient.expansions:
                for member in expansion.members:
                    yield member.resolution, member.path

    def _look_up_groups(self) -> dict[str, frozenset[str]]:
        """Return, for each ``group:`` operand in any rule that may count, who is in the group."""
        operands = {when.operand for when in self._conditions() if when.kind == "group"}
        addresses = {operand: parse_address(operand) for operand in operands}
        known = [address for address in addresses.values() if address is not None]
        if not known:
            return {}
        resolved = self.directory.resolve(known)
        groups = {entry for resolution in resolved.values() for entry in resolution.entries if entry.kind == "group"}
        expansions = self.directory.expand(groups)
        self.truncations.extend(
            dict.fromkeys(expansion.truncated for expansion in expansions.values() if expansion.truncated)
        )
        return {
            key: group_keys(
                resolution,
                [
                    member.resolution
                    for entry in resolution.entries
                    if entry in groups
                    for member in expansions[entry.dn].members
                    if not member.by_forward
                ],
            )
            for key, resolution in resolved.items()
        }

    def _conditions(self) -> Iterable[When]:
        """Every WHEN on every chain that this message may use; unreadable values have none."""
        collected: list[When] = []

        def collect_copy(text: str) -> None:
            rule = parse_copy(text)
            if isinstance(rule, CopyRule) and rule.when is not None:
                collected.append(rule.when)

        def collect_rule(text: str) -> None:
            collected.append(parse_sender_rule(text).when)

        received = {id(chain): chain for _, chain, _, _ in self.receiving}
        for copy_class in self.policy.copy_classes:
            _collect(self.author_chain, copy_class.sent_attributes, collect_copy)
            for chain in received.values():
                _collect(chain, copy_class.received_attributes, collect_copy)
        _collect(self.author_chain, self.policy.from_policy.sender_attributes, collect_rule)
        return collected

    def _author_chain(self) -> Chain:
        resolution = self.author.resolution
        if resolution is None:
            return ()
        if (entry := resolution.entry) is not None:
            return self.chains[entry.dn]
        return self.directory.domain_chain(resolution.hosted_domain) if resolution.hosted_domain else ()

    def _receiving(self) -> Iterable[tuple[Resolution, Chain, Entry | None, tuple[str, ...]]]:
        """Each party once, with the chain that its received copies come from."""
        seen: set[str] = set()
        for resolution, path in self._everybody():
            for entry in resolution.entries:
                if entry.dn not in seen:
                    seen.add(entry.dn)
                    yield resolution, self.chains[entry.dn], entry, path
            if (
                not resolution.entries
                and resolution.known
                and resolution.hosted_domain
                and resolution.address.key not in seen
            ):
                seen.add(resolution.address.key)
                yield resolution, self.directory.domain_chain(resolution.hosted_domain), None, path

    def _look_up_sender_party(self) -> Party:
        """Index the author's addresses, else the envelope sender: what ``with`` of a received copy sees."""
        party = Party()
        resolution = self.author.resolution
        if resolution is None:
            address = parse_address(self.envelope.sender)
            resolution = self.directory.sender(address) if address is not None else None
        if resolution is None:
            party.add_outsider(Seen(self.envelope.sender))
        else:
            party.add(resolution)
        return party

    # -- deciding ---------------------------------------------------------------------------

    def decision(self) -> Decision:
        copies = self._copies()
        change, headers_needed = self._from_change()
        waits = self._must_wait()
        incomplete = [
            *self.directory.failures,
            *(self.truncations if self.policy.directory_failure == "accept" else ()),
        ]
        return Decision(
            identity=self.author.identity,
            verdict="tempfail" if waits else "accept",
            smtp_reply=TEMPFAIL_REPLY if waits else None,
            verdict_mode="apply" if "apply" in waits else next(iter(waits), "apply"),
            from_change=change,
            copies=copies,
            mode=self.policy.mode,
            warnings=tuple(self.notices),
            incomplete=tuple(incomplete),
            headers_needed=headers_needed,
            searches=self.directory.searches,
            stale=self.directory.stale,
        )

    def _must_wait(self) -> list[Mode]:
        """Return the mode of each cause for which the message has to wait; empty: it goes on."""
        modes: list[Mode] = []
        if self.truncations:
            self.notices.extend(Notice(text=text) for text in dict.fromkeys(self.truncations))
            if self.policy.directory_failure == "tempfail":
                modes.append("apply" if self.policy.applies() else self.policy.mode)
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
        author_entry = self.author.entry
        subjects: list[Subject] = []
        if self.author_chain:
            name = author_entry.name if author_entry is not None else None
            subjects.append(Subject(direction="sent", chain=self.author_chain, account=name))
        for resolution, chain, entry, path in self.receiving:
            account = entry.name if entry is not None and entry.kind == "account" else None
            subjects.append(
                Subject(
                    direction="received",
                    chain=chain,
                    account=account,
                    recipient=resolution.address.text,
                    path=path,
                )
            )
        copies, notices = copies_for(
            subjects,
            self.policy.copy_classes,
            self.today,
            self.directory,
            self._matches,
            self.author.resolution if author_entry is not None else None,
            [recipient.resolution for recipient in self.recipients if recipient.resolution is not None],
        )
        self.notices.extend(notices)
        if len(copies) > self.policy.max_copies:
            self.truncations.append(
                f"{len(copies)} copies are asked for, more than [policy] max_copies = {self.policy.max_copies}"
            )
            copies = copies[: self.policy.max_copies]
        return copies

    def _matches(self, when: When, direction: str) -> bool:
        if direction == "received":
            return self.sender_party.match(when, self.groups) is not None
        return any(party.match(when, self.groups) is not None for party in self.full_parties)

    def _from_change(self) -> tuple[FromChange | None, frozenset[str]]:
        """Return the From change and the header fields that have to be read before it is final."""
        policy = self.policy.from_policy
        if self.author.resolution is None or self.author.identity.address is None:
            return None, frozenset()
        parties = (
            self.full_parties
            if policy.match_members
            else [_party(recipient, members=False) for recipient in self.recipients]
        )
        winner, notices = from_rewrite.choose_sender_rule(self.author_chain, parties, self.groups, policy)
        if winner is None:
            winner, more = from_rewrite.choose_recipient_from(self._recipient_chains(), policy)
            notices = [*notices, *more]
        self.notices.extend(notices)
        if winner is None:
            return None, frozenset()
        needed = self._headers_for(winner)
        if self.headers is not None and self._exempt(self.headers):
            return None, needed
        entry = self.author.entry
        author = from_rewrite.Author(
            address=self.author.identity.address, display_name=entry.display_name if entry is not None else ""
        )
        change, notices = from_rewrite.render(winner, author, self.headers, policy, self.directory.hosts)
        self.notices.extend(notices)
        return change, needed

    def _headers_for(self, winner: from_rewrite.Winner) -> frozenset[str]:
        if self.headers is not None:
            return frozenset()
        needed = _EXEMPTING_FIELDS if self.author.identity.source == "mailbox-host" else frozenset()
        return needed | {"from"} if winner.template.needs_from_name else needed

    def _exempt(self, headers: Headers) -> bool:
        if self.author.identity.source != "mailbox-host":
            return False
        automatic = any(
            value.partition(";")[0].strip().lower() not in {"no", ""} for value in headers.values("auto-submitted")
        )
        return automatic or bool(headers.values("x-zimbra-forwarded"))

    def _recipient_chains(self) -> list[tuple[Seen, Chain]]:
        chains: list[tuple[Seen, Chain]] = []
        for recipient in self.recipients:
            resolution = recipient.resolution
            if resolution is None:
                continue
            if resolution.entries:
                chains.extend((Seen(recipient.text), self.chains[entry.dn]) for entry in resolution.entries)
            elif resolution.known and resolution.hosted_domain:
                chains.append((Seen(recipient.text), self.directory.domain_chain(resolution.hosted_domain)))
        return chains


def _party(recipient: Recipient, *, members: bool) -> Party:
    party = Party()
    if recipient.resolution is None:
        party.add_outsider(Seen(recipient.text))
        return party
    party.add(recipient.resolution)
    if members:
        for expansion in recipient.expansions:
            for member in expansion.members:
                if not member.by_forward:
                    party.add(member.resolution, member.path)
    return party


def _collect(chain: Chain, attributes: Sequence[str], collect: Callable[[str], None]) -> None:
    effective(chain, attributes, "union", lambda _holder, text: collect(text))
