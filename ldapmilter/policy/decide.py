"""The product, top to bottom: from an envelope and a directory to a decision.

The daemon calls it at DATA, and once more at the end of the message when the decision depends on
header fields; ``explain`` and the tests call the same function. It does no I/O of its own, keeps no
clock and writes no log: all it knows comes in, all it finds out goes out in the decision.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from ldapmilter.address import envelope_address
from ldapmilter.errors import AmbiguousEntry, DirectoryUnavailable
from ldapmilter.identity import AUTHENTICATED_USER, Author, as_claimed, decided_before, identify
from ldapmilter.policy import from_rewrite
from ldapmilter.policy.copies import copies_for
from ldapmilter.policy.looked_up import LookedUp
from ldapmilter.policy.matching import Parties
from ldapmilter.policy.model import TEMPFAIL_REPLY, Copy, Decision, FromChange, Notice

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from ldapmilter.directory.interface import Directory
    from ldapmilter.message import Envelope, Headers
    from ldapmilter.policy.model import Mode, Policy

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
        parties = LookedUp(envelope, directory, policy, today, author)
        return _Deciding(parties, headers).decision()
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


class _Deciding:
    """One decision in the making: the steps that use what was looked up."""

    def __init__(self, parties: LookedUp, headers: Headers | None) -> None:
        self.looked_up = parties
        self.directory = parties.directory
        self.policy = parties.policy
        self.author = parties.author
        self.headers = headers
        self.notices = parties.notices
        self.truncations = parties.truncations
        if self.author.unknown_person is not None:
            text = f"X-Authenticated-User {self.author.unknown_person!r} names no account: ignored"
            self.notices.append(Notice(text=text))

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
            self.looked_up.asked,
            self.policy.copy_classes,
            self.looked_up.matches,
            self.author.resolution if self.author.entry is not None else None,
            [recipient.resolution for recipient in self.looked_up.recipients if recipient.resolution is not None],
        )
        self.notices.extend(notices)
        if len(copies) > self.policy.max_copies:
            text = f"{len(copies)} copies are asked for, more than [policy] max_copies = {self.policy.max_copies}"
            self.truncations[text] = None
            copies = copies[: self.policy.max_copies]
        return copies

    def _from_change(self) -> tuple[FromChange | None, frozenset[str]]:
        """Return the From change and the header fields that have to be read before it is final."""
        policy = self.policy.from_policy
        needed = self._headers_for_identity()
        if self.author.resolution is None or self.author.identity.address is None:
            return None, needed
        parties = (
            self.looked_up.parties
            if policy.match_members
            else [Parties(parties.direct) for parties in self.looked_up.parties]
        )
        winner, notices = from_rewrite.choose_sender_rule(
            self.looked_up.author_chain, parties, self.looked_up.groups, policy
        )
        wish, more = from_rewrite.choose_recipient_from(self.looked_up.recipient_chains(), policy)
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
