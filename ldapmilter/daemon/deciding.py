"""What a session needs of its worker: a decision, and that it is kept in the audit, counted and logged."""

from __future__ import annotations

import logging
import os
import socket
import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from ldapmilter.audit.record import must_be_durable, record, wants_audit
from ldapmilter.daemon import decision_log
from ldapmilter.daemon.audit_trail import AuditTrail
from ldapmilter.daemon.in_flight import InFlight
from ldapmilter.daemon.recent import RecentMessages
from ldapmilter.daemon.recipient_filter import RecipientFilter
from ldapmilter.daemon.relayed_copies import RelayedCopies
from ldapmilter.daemon.reloading import Configurations
from ldapmilter.daemon.sender_changes import SenderChanges
from ldapmilter.daemon.tally import Tally
from ldapmilter.daemon.unknown_clients import UnknownClients
from ldapmilter.daemon.waiting import Waiting
from ldapmilter.daemon.warming import PutOff
from ldapmilter.errors import AuditError
from ldapmilter.policy.identity import as_claimed
from ldapmilter.policy.model import Decision, Notice
from ldapmilter.policy.verdict import WAITS_FOR_AUDIT, WAITS_FOR_RELAY

if TYPE_CHECKING:
    from ldapmilter.daemon.active_configuration import ActiveConfiguration
    from ldapmilter.message import Envelope, HandledMessage, Headers
    from ldapmilter.policy.basis import Basis
    from ldapmilter.policy.settings import Policy

_log = logging.getLogger(__name__)

_LEAST_SECONDS = 1.0
"""What a line may take although the look-up took all the time there was: a disk that is well needs less."""


class Decider:
    """Decides for every session of one worker."""

    def __init__(self, active: ActiveConfiguration) -> None:
        """Decide under a configuration; to be made in the process that serves, whose threads write the audit."""
        self.tally = Tally()
        self.audit = AuditTrail(active.config, self.tally)
        self.recipient_filter = RecipientFilter(active.config.milter.enable_original_recipient)
        self.relayed_copies = RelayedCopies(active.config)
        self.configurations = Configurations(active, self.audit, self.recipient_filter, self.relayed_copies)
        self.in_flight = InFlight()
        self.put_off = PutOff()
        self.last_message: float | None = None
        """When the last message was decided, in seconds since the epoch."""
        self.unknown_clients = UnknownClients()
        self.waiting = Waiting()
        self.invalid_values: dict[str, float] = {}
        """When a message last met an invalid value of a confidential copy class, in seconds since the epoch."""
        self.recent = RecentMessages()
        self.sender_changes = SenderChanges()
        self._host = socket.gethostname()

    def decide(self, envelope: Envelope, headers: Headers | None, basis: Basis) -> Decision | None:
        """Return the decision for one message, or ``None`` when policy is switched off."""
        active = self.configurations.active
        if active.switched_off:
            return None
        began = time.perf_counter()
        decision = active.decide(envelope, headers, basis)
        if headers is None:
            self.tally.waited(time.perf_counter() - began)
        if decision.sender_change is not None:
            self.sender_changes.met(active)
        if decision.still_reading:
            self.put_off.note(envelope, headers)
        return decision

    def settle(self, message: HandledMessage, decision: Decision) -> Decision:
        """Return what is to be carried out of a final decision: relayed copies have tokens, or there is none."""
        return self.relayed_copies.settle(message, decision, self.configurations.active.config.policy)

    def warm(self, envelope: Envelope, headers: Headers | None) -> None:
        """Read what a message needs that another worker has put off; nothing is decided, counted or told."""
        active = self.configurations.active
        if not active.switched_off:
            active.decide(envelope, headers)

    @property
    def changes_sender(self) -> bool:
        """Whether a message may come whose envelope sender is to change."""
        return self.sender_changes.may_come(self.configurations.active)

    @property
    def keeps_message_ids(self) -> bool:
        """Whether the header of a message with a copy is worth reading for the Message-ID alone."""
        return self.configurations.active.config.audit is not None or self.relayed_copies.reads_message_ids

    def replaces_recipients(self) -> bool:
        """Whether a copy has to take the place of a recipient that it is already."""
        return self.recipient_filter.tells_apart

    def failed(self) -> None:
        """Count an unexpected error, for which a message was told to wait."""
        self.tally.happened("errors")

    def gave_up(self, message: HandledMessage, error: BaseException) -> None:
        """Remember a message that was told to wait because of an error, on which nothing was decided in the end."""
        cause = Notice(text=f"{type(error).__name__}: {error}", confidential=True)
        identity = as_claimed(message.envelope)
        self._remember(message, Decision(identity=identity, verdict="tempfail", warnings=(cause,)))

    def done(self, message: HandledMessage, decision: Decision) -> None:
        """Keep a decision in the audit, count it and log it.

        Raises:
            AuditError: a confidential copy is about to be made, and the audit cannot be written.
        """
        policy = self.configurations.active.config.policy
        if decision.uneventful and not (message.probe or _log.isEnabledFor(logging.DEBUG)):
            # Neither the audit nor the log has a line of it.
            self._count(message.envelope, decision, policy)
            self._remember(message, decision)
            return
        try:
            self._keep(message, decision, policy)
        except AuditError:
            # For the log it waits as any other does: one without a line of its own would have a legal copy.
            held = Decision(identity=decision.identity, verdict="tempfail", waits_for=WAITS_FOR_AUDIT)
            self._tell(message, held, policy)
            raise
        self._tell(message, decision, policy)
        self._remember(message, decision)
        for notice in decision.warnings:
            if notice.confidential and notice.invalid_value_of is not None:
                self.invalid_values[notice.invalid_value_of] = time.time()

    def close(self) -> None:
        """Let go of the directory, and of the audit as soon as what waits for it is written."""
        self.configurations.active.opened.close()
        self.audit.close()

    def _remember(self, message: HandledMessage, decision: Decision) -> None:
        config = self.configurations.active.config
        self.recent.keep(message, decision, config.policy, config.trace_messages)

    def _tell(self, message: HandledMessage, decision: Decision, policy: Policy) -> None:
        """Count a decision and log it."""
        if message.probe:
            self.tally.happened("probes")
        else:
            self._count(message.envelope, decision, policy)
        line = decision_log.line(message, decision, policy, verbose=_log.isEnabledFor(logging.DEBUG))
        if line is not None:
            _log.log(decision_log.level(decision), "%s", line)

    def _count(self, envelope: Envelope, decision: Decision, policy: Policy) -> None:
        self.tally.decided(decision, policy.confidential)
        self.last_message = now = time.time()
        if decision.applied_verdict != "tempfail":
            self.waiting.went_on(envelope, now)
            if decision.unknown_client is not None:
                self.unknown_clients.note(decision.unknown_client, now)
        elif decision.waits_for and not decision.still_reading:
            self.waiting.told_to_wait(envelope, decision.waits_for, now, outage=self._is_outage(decision))

    def _is_outage(self, decision: Decision) -> bool:
        """Whether it is not this message alone that has to wait."""
        if not decision.unavailable:
            return decision.waits_for in {WAITS_FOR_AUDIT, WAITS_FOR_RELAY}
        servers = self.configurations.active.opened.store.states()
        return not any(state["up"] for state in servers.values())

    def _keep(self, message: HandledMessage, decision: Decision, policy: Policy) -> None:
        if not self.audit.is_kept or not wants_audit(decision):
            return
        kept = record(
            time=datetime.now(timezone.utc),
            host=self._host,
            worker=os.getpid(),
            message=message,
            decision=decision,
        )
        seconds = self._seconds_left(message)
        self.audit.write(kept, durable=must_be_durable(decision, policy), seconds=seconds)

    def _seconds_left(self, message: HandledMessage) -> float:
        """Return how long the line of a message may take: look-up and audit share one deadline."""
        waited = time.monotonic() - message.ended_at if message.ended_at is not None else 0.0
        return max(_LEAST_SECONDS, self.configurations.active.config.ldap.lookup_deadline - waited)
