"""Copies by way of the relay, as a worker hands them over: each under a token of its own, and only if there is a way.

What comes back is recognised here, too: a journal report that the relay sends to a mailbox of this system.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from ldapmilter.daemon.copy_route import CopyRoute
from ldapmilter.delivery.token import TokenKey, token_of
from ldapmilter.policy.model import TEMPFAIL_REPLY, Decision, Notice
from ldapmilter.policy.verdict import WAITS_FOR_RELAY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ldapmilter.config import Config
    from ldapmilter.message import HandledMessage
    from ldapmilter.policy.effect import Copy
    from ldapmilter.policy.settings import Policy

_CAME_BACK: Final = "a journal report of the copy relay, by its Message-ID"


def key_for(config: Config) -> TokenKey | None:
    """Return the key of the tokens, which is made where there is none; ``None``: there is no relay.

    Raises:
        ConfigError: it cannot be read or made.
    """
    settings = config.relay
    return TokenKey.load_or_make(settings.key_file) if settings.listen is not None else None


class RelayedCopies:
    """The relay, as one worker knows it."""

    def __init__(self, config: Config) -> None:
        """Begin with a configuration.

        Raises:
            ConfigError: the key cannot be read.
        """
        self._domain, self._key = config.relay.domain, key_for(config)
        self.route = CopyRoute(config.relay)

    @property
    def reads_message_ids(self) -> bool:
        """Whether a message may be one that comes back."""
        return self._key is not None

    def follow(self, config: Config, key: TokenKey | None) -> None:
        """Obey another configuration, and ask Postfix anew.

        Args:
            config: what counts from now on.
            key: of that configuration (:func:`key_for`).
        """
        self._domain, self._key = config.relay.domain, key
        self.route.follow(config.relay)
        self.route.ask_within()

    def settle(self, message: HandledMessage, decision: Decision, policy: Policy) -> Decision:
        """Return what is carried out of a decision: its relayed copies have tokens, or there is none.

        Args:
            message: with the Message-ID fields of its header.
            decision: the final one.
            policy: what it was decided by.
        """
        if _is_carried_out(decision) and self._comes_back(message):
            return Decision(identity=decision.identity, mode=decision.mode, decided_before=_CAME_BACK)
        relayed = _relayed(decision)
        if not relayed:
            return decision
        stopped, key = self._stopped(decision, relayed, policy), self._key
        if stopped is not None or key is None:
            return stopped or decision
        carried = {copy: f"{key.new(probe=message.probe)}@{self._domain}" for copy in relayed}
        return replace(decision, copies=tuple(replace(one, relayed_as=carried.get(one)) for one in decision.copies))

    def foresee(self, decision: Decision, policy: Policy) -> Decision:
        """Return what would be carried out of a decision for a message that is not on its way: there are no tokens."""
        relayed = _relayed(decision)
        return (self._stopped(decision, relayed, policy) if relayed else None) or decision

    def _stopped(self, decision: Decision, relayed: Sequence[Copy], policy: Policy) -> Decision | None:
        """Return what becomes of a message whose copies have no way; ``None``: they have one."""
        way = self.route.route
        if way is None or self._key is None:
            return _held(
                decision, f"a reload took the copy relay away, which had to take copies to {_targets(relayed)}"
            )
        if way.state != "not routed":
            return None
        if policy.directory_failure == "tempfail":
            why = f"the copy relay is not routed, and has to take copies to {_targets(relayed)}: {way.text}"
            return _held(decision, why)
        return _without(decision, relayed, way.text)

    def _comes_back(self, message: HandledMessage) -> bool:
        """Whether it is a report of ours; whoever logs in may know a token, and writes the Message-ID."""
        ids = message.message_ids
        if self._key is None or message.envelope.login or ids is None or len(ids) != 1:
            return False
        token = token_of(ids[0].strip().removeprefix("<").removesuffix(">"))
        return token is not None and self._key.valid(token)


def _is_carried_out(decision: Decision) -> bool:
    return decision.applied_verdict == "accept" and bool(decision.applied)


def _relayed(decision: Decision) -> list[Copy]:
    """Return the copies of a decision that are made, and travel by the relay."""
    return [copy for copy in decision.applied_copies if copy.relayed] if _is_carried_out(decision) else []


def _held(decision: Decision, why: str) -> Decision:
    """Let a message wait whose copies would be lost."""
    return replace(
        decision,
        verdict="tempfail",
        verdict_mode="apply",
        smtp_reply=TEMPFAIL_REPLY,
        waits_for=WAITS_FOR_RELAY,
        waits_because=(why,),
        warnings=(*decision.warnings, Notice(text=why, confidential=True, error=True)),
    )


def _without(decision: Decision, relayed: Sequence[Copy], why: str) -> Decision:
    """Let a message go on without the copies that would be lost."""
    text = f"copies are not made, since the copy relay is not routed: {why}"
    named = f"the copy relay is not routed, so there are no copies to {_targets(relayed)}: {why}"
    notices = [Notice(text=named, confidential=True, error=True)]
    if not any(copy.openly for copy in relayed):
        notices.append(Notice(text=text, confidential=True))  # the log is silent of it, then
    return replace(
        decision,
        copies=tuple(copy for copy in decision.copies if copy not in relayed),
        incomplete=(*decision.incomplete, text),
        warnings=(*decision.warnings, *notices),
    )


def _targets(copies: Sequence[Copy]) -> str:
    return ", ".join(copy.address.text for copy in copies)
