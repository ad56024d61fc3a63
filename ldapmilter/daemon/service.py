"""What decides in a worker: the configuration and the directory that count now, and what is in flight.

A reload replaces configuration and directory as one. A message that asks gets what counts at that
moment; the directory of before is let go of when nobody can be waiting for it any more.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from ldapmilter.audit.file import AuditFile
from ldapmilter.audit.record import must_be_durable, record, wants_audit
from ldapmilter.daemon import decision_log
from ldapmilter.daemon.tally import Numbers, Tally, add
from ldapmilter.directory.opening import OpenDirectory, open_directory
from ldapmilter.errors import AuditError, DirectoryUnavailable
from ldapmilter.policy.decide import decide, decide_whole

if TYPE_CHECKING:
    from datetime import date

    from ldapmilter.config import Config
    from ldapmilter.directory.cache import Cache
    from ldapmilter.directory.zimbra import MessageDirectory
    from ldapmilter.message import Envelope, HandledMessage, Headers
    from ldapmilter.policy.model import Decision, Policy

_log = logging.getLogger(__name__)

_LET_GO_AFTER = 60.0
"""Seconds after a message's deadline for which the directory of before is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What counts for a message: one configuration, and the directory opened by it."""

    config: Config
    opened: OpenDirectory
    switched_off: bool = field(init=False)
    """Whether no message needs a decision."""

    def __post_init__(self) -> None:
        """Work out once what every message asks."""
        object.__setattr__(self, "switched_off", self.config.policy.switched_off())

    @classmethod
    def of(cls, config: Config, before: Standing | None = None) -> Standing:
        """Return what counts under a configuration; the directory of before, cache and all, where it fits.

        Raises:
            ConfigError: the directory cannot be opened as configured.
        """
        if before is not None and not before.opened.embedded and same_directory(config, before.config):
            return cls(config=config, opened=before.opened)
        return cls(config=config, opened=open_directory(config))

    def decide(self, envelope: Envelope, headers: Headers | None) -> Decision:
        """Return the decision for a message of today; without headers, as far as they do not matter."""
        return decide(envelope, self._view(), self.config.policy, today=_today(), headers=headers)

    def explain(self, envelope: Envelope, headers: Headers) -> Decision:
        """Return the whole decision for a message that is not on its way."""
        return decide_whole(envelope, headers, self._view(), self.config.policy, today=_today())

    def _view(self) -> MessageDirectory:
        return self.opened.directory.for_message(lenient=self.config.policy.directory_failure == "accept")


def _today() -> date:
    """Return the day for ``until``, which is one of UTC."""
    return datetime.now(timezone.utc).date()


def _numbers_of(opened: OpenDirectory) -> Numbers:
    return {"cache": asdict(opened.cache.statistics), "servers": dict(opened.store.statistics())}


def open_audit(config: Config) -> AuditFile | None:
    """Open the audit file that a configuration names, if any.

    Raises:
        AuditError: it cannot be written, or somebody else may read it.
    """
    return AuditFile(config.audit) if config.audit is not None else None


def same_directory(one: Config, other: Config) -> bool:
    """Tell whether what is known of the directory under one configuration is right under another."""
    return (one.ldap, one.cache, one.groups, one.policy.attributes()) == (
        other.ldap,
        other.cache,
        other.groups,
        other.policy.attributes(),
    )


class Service:
    """Decides for every session of one worker."""

    def __init__(self, standing: Standing) -> None:
        """Serve under a configuration; to be made in the process that serves, which locks the audit file.

        An audit file that cannot be opened stops the daemon's start, but not a worker that takes
        another one's place: mail that needs no audit goes on.
        """
        self._standing = standing
        self._audit: AuditFile | None = None
        self._host = socket.gethostname()
        self._coming: OpenDirectory | None = None
        """The directory that a reload is just warming up."""
        self._retired: list[tuple[float, OpenDirectory]] = []
        self._past: Numbers = {}
        """What the directories had counted that are gone."""
        self.tally = Tally()
        self.last_message: float | None = None
        """When the last message was decided, in seconds since the epoch."""
        self.sessions = 0
        """How many connections are open."""
        self._said: set[str] = set()
        """What has been complained of in this minute."""
        self._in_flight: dict[int, int] = {0: 0}
        self._epoch = 0
        self._lock = threading.Lock()
        try:
            self._opened_audit()
        except AuditError as error:
            self._complain_of_audit(error)

    @property
    def standing(self) -> Standing:
        """What counts now."""
        return self._standing

    # -- for sessions -----------------------------------------------------------------------

    def decide(self, envelope: Envelope, headers: Headers | None) -> Decision | None:
        """Return the decision for one message, or ``None`` when policy is switched off."""
        standing = self._standing
        if standing.switched_off:
            return None
        began = time.perf_counter()
        decision = standing.decide(envelope, headers)
        if headers is None:
            self.tally.waited(time.perf_counter() - began)
        return decision

    def wants_message_id(self, decision: Decision) -> bool:
        """Whether the header is worth reading for the Message-ID alone."""
        config = self._standing.config
        return config.audit is not None and must_be_durable(decision, config.policy)

    def done(self, message: HandledMessage, decision: Decision) -> None:
        """Keep a decision in the audit, count it and log it.

        Raises:
            AuditError: a confidential copy is about to be made, and the audit cannot be written.
        """
        policy = self._standing.config.policy
        self._keep(message, decision, policy)
        if message.probe:
            self.tally.happened("probes")
        else:
            self.tally.decided(decision)
            self.last_message = time.time()
        line = decision_log.line(message, decision, policy, verbose=_log.isEnabledFor(logging.DEBUG))
        if line is not None:
            _log.info("%s", line)
        broken = {notice.invalid_value_of for notice in decision.warnings if notice.confidential}
        for name in sorted(broken - {None}, key=str):
            self._complain(f"copy class {name} has an invalid value that is in use; ldapmilter explain names it")

    def _keep(self, message: HandledMessage, decision: Decision, policy: Policy) -> None:
        if self._standing.config.audit is None or not wants_audit(decision):
            return
        durable = must_be_durable(decision, policy)
        kept = record(
            time=datetime.now(timezone.utc),
            host=self._host,
            worker=os.getpid(),
            queue_id=message.queue_id,
            message_id=message.message_id,
            envelope=message.envelope,
            decision=decision,
            old_from=message.old_from,
            probe=message.probe,
        )
        try:
            if (audit := self._opened_audit()) is not None:
                audit.write(kept, durable=durable)
        except AuditError as error:
            self.tally.happened("audit_failures")
            self._complain_of_audit(error)
            if durable:
                raise

    def _opened_audit(self) -> AuditFile | None:
        """Return the audit file; one that could not be opened so far is tried again.

        Raises:
            AuditError: it still cannot be.
        """
        if self._audit is None:
            with self._lock:
                self._audit = self._audit or open_audit(self._standing.config)
        return self._audit

    def _complain_of_audit(self, error: AuditError) -> None:
        self._complain(f"the audit cannot be written, so mail that needs it waits: {error}")

    def _complain(self, text: str) -> None:
        """Log something about confidential copies: once a minute at most, and without naming a message.

        A line for each message would tell on whom there is one.
        """
        if text not in self._said:
            self._said.add(text)
            _log.error("%s", text)

    def failed(self) -> None:
        """Count an unexpected error, for which a message was told to wait."""
        self.tally.happened("errors")

    def session_began(self) -> None:
        """Count a connection."""
        with self._lock:
            self.sessions += 1

    def session_ended(self) -> None:
        """Count a connection that is closed."""
        with self._lock:
            self.sessions -= 1

    def transaction_began(self) -> int:
        """Count a message in flight; return what to hand to :meth:`transaction_ended`."""
        with self._lock:
            self._in_flight[self._epoch] += 1
            return self._epoch

    def transaction_ended(self, epoch: int) -> None:
        """Count a message that is through."""
        with self._lock:
            self._in_flight[epoch] -= 1

    # -- for the worker ---------------------------------------------------------------------

    @property
    def in_flight(self) -> int:
        """How many messages are in flight."""
        return sum(self._in_flight.values())

    def wait_for_messages(self, seconds: float, pause: float = 0.02) -> int:
        """Wait for the messages that are in flight now, not for those that begin later.

        Returns:
            how many of them were not through in time.
        """
        with self._lock:
            epoch, self._epoch = self._epoch, self._epoch + 1
            self._in_flight[self._epoch] = 0
        deadline = time.monotonic() + seconds
        while self._in_flight[epoch] > 0 and time.monotonic() < deadline:
            time.sleep(pause)
        # The last callback has returned; libmilter still has to write what it said.
        time.sleep(min(3 * pause, seconds))
        return self._in_flight[epoch]

    def warm_up(self, standing: Standing) -> None:
        """Read what every message needs, and say at once when the directory does not answer."""
        try:
            standing.opened.directory.for_message().warm_up()
        except DirectoryUnavailable as error:
            _log.error("directory unavailable: %s", error)
        else:
            _log.info("the directory answers: %s", standing.opened.described)

    def caches(self) -> list[Cache]:
        """Return the caches that a flush has to reach: the one that counts, and the one that is about to."""
        with self._lock:
            opened = (self._standing.opened, self._coming)
        return [one.cache for one in opened if one is not None]

    def directory_numbers(self) -> Numbers:
        """Return what caches and LDAP servers have counted since the start, over reloads."""
        with self._lock:
            total = self._past
            for one in (self._standing.opened, *(opened for _, opened in self._retired)):
                total = add(total, _numbers_of(one))
        return total

    def take_over(self, config: Config) -> None:
        """Let another configuration count from the next message on.

        Raises:
            ConfigError: it cannot be used here; the one of before goes on counting.
            AuditError: the audit file cannot be opened; the configuration of before goes on counting.
        """
        before = self._standing
        standing = Standing.of(config, before)
        self._follow_audit(before.config, config)  # before anything is begun that a refusal would leave behind
        if standing.opened is not before.opened:
            with self._lock:
                self._coming = standing.opened
            self.warm_up(standing)
        with self._lock:
            if standing.opened is not before.opened:
                release = time.monotonic() + before.config.ldap.lookup_deadline + _LET_GO_AFTER
                self._retired.append((release, before.opened))
            self._standing, self._coming = standing, None

    def _follow_audit(self, before: Config, config: Config) -> None:
        """Open another audit file, or the same anew after its rotation."""
        if self._audit is not None and config.audit == before.audit:
            self._audit.reopen()
            return
        old, self._audit = self._audit, open_audit(config)
        if old is not None:
            old.close()

    def every_minute(self) -> None:
        """Say again what is not as it should be, and let go of what nobody uses any more."""
        self._said.clear()
        for text in self._standing.opened.store.problems():
            _log.error("directory: %s", text)
        now = time.monotonic()
        with self._lock:
            due = [opened for release, opened in self._retired if release <= now]
            self._retired = [(release, opened) for release, opened in self._retired if release > now]
            for opened in due:
                self._past = add(self._past, _numbers_of(opened))
        for opened in due:
            opened.close()

    def close(self) -> None:
        """Let go of the directory."""
        self._standing.opened.close()
