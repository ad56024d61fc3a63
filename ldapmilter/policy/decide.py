"""The product, top to bottom: from an envelope and a directory to a decision.

The daemon calls it at DATA, and once more at the end of the message when the decision depends on
header fields; ``explain`` and the tests call the same function. It does no I/O of its own, keeps no
clock and writes no log: all it knows comes in, all it finds out goes out in the decision.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypedDict

from ldapmilter.address import envelope_address
from ldapmilter.errors import AmbiguousEntry, DirectoryUnavailable
from ldapmilter.identity import AUTHENTICATED_USER, Author, as_claimed, decided_before, identify, login_key
from ldapmilter.mailbox.reading import read_text
from ldapmilter.mailbox.writing import header_value, readable_value
from ldapmilter.policy import from_enforce, from_rewrite
from ldapmilter.policy.copies import copies_for
from ldapmilter.policy.looked_up import LookedUp
from ldapmilter.policy.matching import Parties
from ldapmilter.policy.model import TEMPFAIL_REPLY, Copy, Decision, FromChange, HeaderChange, Notice, Refusal

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence
    from datetime import date

    from ldapmilter.directory.interface import Directory
    from ldapmilter.message import Envelope, Headers
    from ldapmilter.policy.model import Mode, Policy, Verdict

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
    if (why := decided_before(envelope, policy.identity)) is not None:
        return Decision(identity=as_claimed(envelope), mode=policy.mode, decided_before=why)
    author: Author | None = None
    try:
        remembered = _remembered(envelope, directory)
        author = remembered.get(login_key(envelope.login)) or _identify(envelope, directory, policy, headers)
        if author.unknown_login and policy.identity.unknown_login == "tempfail":
            text = f"the login {envelope.login!r} resolves to no account: [identity] unknown_login = tempfail"
            return _held(author, policy, directory, [Notice(text=text)])
        parties = LookedUp(envelope, directory, policy, today, author, remembered)
        return _Deciding(parties, headers).decision()
    except DirectoryUnavailable as error:
        author = author or Author(identity=as_claimed(envelope))
        if policy.directory_failure == "accept":
            return Decision(
                identity=author.identity, mode=policy.mode, incomplete=(str(error),), searches=directory.searches
            )
        return replace(
            _held(author, policy, directory, [Notice(text=f"directory unavailable: {error}", error=True)]),
            unavailable=True,
        )


def decide_whole(
    envelope: Envelope, headers: Headers, directory: Directory, policy: Policy, *, today: date
) -> Decision:
    """Return what happens to a message whose header is at hand, as the daemon comes to it in two steps."""
    decision = decide(envelope, directory, policy, today=today)
    if decision.headers_needed:
        return decide(envelope, directory, policy, today=today, headers=headers)
    return decision


def _remembered(envelope: Envelope, directory: Directory) -> Mapping[Hashable, Any]:
    """Return what earlier messages left of this one's parties; what is missing is looked up, all at once.

    Returns:
        recipients by their texts, the author by :func:`login_key`.
    """
    login = envelope.login
    keys: list[Hashable] = [*envelope.recipients]
    if login:
        keys.append(login_key(login))
    remembered = directory.recall(keys)
    if len(remembered) < len(keys):
        texts = [text for text in envelope.recipients if text not in remembered]
        if not login:
            texts.append(envelope.sender)
        elif login_key(login) in remembered:
            login = None
        addresses = [envelope_address(text) for text in texts]
        directory.prefetch(login, [address for address in addresses if address is not None])
    return remembered


def _identify(envelope: Envelope, directory: Directory, policy: Policy, headers: Headers | None) -> Author:
    try:
        return identify(envelope, directory, policy.identity, headers)
    except AmbiguousEntry as error:
        if policy.directory_failure == "tempfail":
            raise
        # What is known is applied: who receives the mail is known.
        if headers is None:
            return Author(identity=as_claimed(envelope), unclear=str(error))
        # It may be the person whom a header names that is not clear: the mailbox is known all the same.
        author = _identify(envelope, directory, policy, None)
        return replace(author, unclear=str(error))


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


class _Verdict(TypedDict):
    """The part of a decision that the MTA answers with."""

    verdict: Verdict
    smtp_reply: str | None
    verdict_mode: Mode


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
        self.headers_needed: set[str] = set()
        self.header_changes: list[HeaderChange] = []
        self.refusal: Refusal | None = None
        if self.author.unknown_person is not None:
            text = f"X-Authenticated-User {self.author.unknown_person!r} names no account: ignored"
            self.notices.append(Notice(text=text))

    def decision(self) -> Decision:
        """Put the parts together."""
        copies = self._copies()
        change = self._from_change()
        waits = self._must_wait()
        accepted = self.truncations if self.policy.directory_failure == "accept" else ()
        return Decision(
            identity=self.author.identity,
            **self._verdict(waits),
            from_change=change,
            header_changes=tuple(self.header_changes),
            refusal=self.refusal,
            copies=copies,
            mode=self.policy.mode,
            warnings=tuple(self.notices),
            incomplete=(*self.directory.failures, *accepted, *filter(None, [self.author.unclear])),
            headers_needed=frozenset(self.headers_needed) if self.headers is None else frozenset(),
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
        if not self.looked_up.asked:
            return ()
        copies, notices = copies_for(
            self.looked_up.asked,
            self.policy.copy_classes,
            self.looked_up.matches,
            self.author.resolution if self.author.entry is not None else None,
            [meant for recipient in self.looked_up.recipients if (meant := recipient.resolution) is not None],
        )
        self.notices.extend(notices)
        if len(copies) > self.policy.max_copies:
            text = f"{len(copies)} copies are asked for, more than [policy] max_copies = {self.policy.max_copies}"
            self.truncations[text] = None
            copies = copies[: self.policy.max_copies]
        return copies

    def _from_change(self) -> FromChange | None:
        """Return the From change: by the sender's rules, else the recipient's wish, else enforcement.

        Notes the header fields that have to be read before it is final.
        """
        policy = self.policy.from_policy
        if self.author.asks_for_person:
            self.headers_needed.add(AUTHENTICATED_USER)
        if self.author.resolution is None or self.author.identity.address is None:
            return None
        winner = self._winner()
        if winner is None:
            return self._enforced()
        if self._exempt():
            return None
        if winner.template.needs_from_name:
            self.headers_needed.add("from")
        entry = self.author.entry
        author = from_rewrite.Author(
            address=self.author.identity.address, display_name=entry.display_name if entry is not None else ""
        )
        change, notices = from_rewrite.render(winner, author, self.headers, policy, self.directory.hosts)
        self.notices.extend(notices)
        if change is not None:
            self._keep_author(author)
        return change

    def _winner(self) -> from_rewrite.Winner | None:
        policy, seen = self.policy.from_policy, self.looked_up
        by_author, wishes = seen.by_author, seen.from_wishes()
        if by_author is None or not (by_author.rules.says_something or wishes):
            return None
        parties = seen.parties if policy.match_members else [Parties(parties.direct) for parties in seen.parties]
        winner, notices = from_rewrite.choose_sender_rule(by_author.rules, parties, seen.groups)
        wish, more = from_rewrite.choose_recipient_from(wishes)
        self.notices.extend(notices)
        if winner is None:
            self.notices.extend(more)
            return wish
        # A broken wish is said aloud; a conflict between wishes that count for nothing is not.
        self.notices.extend(notice for notice in more if notice.invalid_value_of)
        return winner

    def _enforced(self) -> FromChange | None:
        policy = self.policy.from_policy
        by_author = self.looked_up.by_author
        if by_author is None:
            return None
        rule, notices = by_author.enforcement
        self.notices.extend(notices)
        account = self.author.entry
        if rule is None or account is None or self._exempt():
            return None
        self.headers_needed |= from_enforce.FIELDS
        if self.headers is None:
            return None
        outcome = from_enforce.enforce(
            rule,
            account,
            self.headers,
            self.directory,
            policy,
            ask_sender=self.author.identity.source == "sasl",
        )
        self.refusal = outcome.refusal
        self.header_changes.extend(outcome.header_changes)
        if outcome.change is not None:
            self._keep_original()
        return outcome.change

    def _keep_author(self, author: from_rewrite.Author) -> None:
        """Leave the author's address in Reply-To, and the old From where it is asked for."""
        policy = self.policy.from_policy
        if policy.reply_to == "author":
            self.headers_needed.add("reply-to")
            if self.headers is not None and not self.headers.values("reply-to"):
                value = header_value(author.display_name, author.address)
                self.header_changes.append(HeaderChange(name="Reply-To", value=value, mode=policy.mode))
        self._keep_original()

    def _keep_original(self) -> None:
        policy = self.policy.from_policy
        if not policy.original_from_header:
            return
        self.headers_needed |= {"from", policy.original_from_header.lower()}
        if self.headers is None:
            return
        value = readable_value(", ".join(map(read_text, self.headers.values("from"))))
        # Whatever came under that name was not written by us, so it goes in any case.
        if value or self.headers.values(policy.original_from_header.lower()):
            change = HeaderChange(name=policy.original_from_header, value=value or None, mode=policy.mode)
            self.header_changes.append(change)

    def _exempt(self) -> bool:
        """Whether a mailbox server sent an automatic reply or a redirect: nobody wrote that From."""
        if self.author.identity.source != "mailbox-host":
            return False
        self.headers_needed |= _EXEMPTING_FIELDS
        if self.headers is None:
            return False
        automatic = any(
            re.split(r"[;(]", value, maxsplit=1)[0].strip().lower() != "no"
            for value in self.headers.values("auto-submitted")
        )
        return automatic or bool(self.headers.values("x-zimbra-forwarded"))

    def _verdict(self, waits: Sequence[Mode]) -> _Verdict:
        """Return verdict, reply and mode: waiting comes first, since a look-up may still change the rest."""
        if waits:
            return {
                "verdict": "tempfail",
                "smtp_reply": TEMPFAIL_REPLY,
                "verdict_mode": "apply" if "apply" in waits else waits[0],
            }
        if self.refusal is not None:
            return {
                "verdict": "reject",
                "smtp_reply": self.refusal.reply,
                "verdict_mode": self.policy.from_policy.mode,
            }
        return {"verdict": "accept", "smtp_reply": None, "verdict_mode": "apply"}
