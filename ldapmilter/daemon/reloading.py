"""The configuration in force with its directory, and what a reload does with them.

A reload replaces configuration and directory as one. A message that asks gets what is in force at that
moment; the previous directory is closed when no message can be waiting for it any more.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import TYPE_CHECKING

from msgspec.structs import asdict

from ldapmilter.daemon import relayed_copies as relayed
from ldapmilter.daemon.active_configuration import ActiveConfiguration
from ldapmilter.daemon.tally import Numbers, add
from ldapmilter.errors import DirectoryUnavailable, StillReading

if TYPE_CHECKING:
    from ldapmilter.config import Config
    from ldapmilter.daemon.audit_trail import AuditTrail
    from ldapmilter.daemon.recipient_filter import RecipientFilter
    from ldapmilter.daemon.relayed_copies import RelayedCopies
    from ldapmilter.opening import OpenDirectory

_log = logging.getLogger(__name__)

_CLOSE_AFTER = 60.0
"""Seconds after a message's deadline for which the previous directory is kept."""


class Configurations:
    """The configuration in force, the one that a reload is about to put in force, and the directories before them."""

    def __init__(
        self,
        active: ActiveConfiguration,
        audit: AuditTrail,
        recipient_filter: RecipientFilter,
        relayed_copies: RelayedCopies,
    ) -> None:
        """Start with a configuration in force.

        Args:
            active: what is in force.
            audit: follows a reload.
            recipient_filter: follows a reload.
            relayed_copies: follow a reload.
        """
        self._active = active
        self._audit = audit
        self._recipient_filter = recipient_filter
        self._relayed_copies = relayed_copies
        self._coming: OpenDirectory | None = None
        """The directory that a reload is just warming up."""
        self._retired: list[tuple[float, OpenDirectory]] = []
        """When to close each previous directory, on the monotonic clock."""
        self._past: Numbers = {}
        """What the directories had counted that are closed."""
        self._lock = threading.Lock()

    @property
    def active(self) -> ActiveConfiguration:
        """What is in force."""
        return self._active

    def take_over(self, config: Config) -> None:
        """Put another configuration in force, from the next message on.

        Raises:
            ConfigError: it cannot be used here; the previous one stays in force.
            AuditError: the audit file cannot be opened; the previous configuration stays in force.
        """
        before = self._active
        active = ActiveConfiguration.of(config, before)
        # Before anything is begun that a refusal would leave behind.
        key = relayed.key_for(config)
        self._audit.follow(before.config, config)
        if active.opened is not before.opened:
            with self._lock:
                self._coming = active.opened
            warm_up(active)
        self._recipient_filter.follow(config.milter.enable_original_recipient)
        self._recipient_filter.ask_within()
        self._relayed_copies.follow(config, key)
        with self._lock:
            if active.opened is not before.opened:
                close_at = time.monotonic() + before.config.ldap.lookup_deadline + _CLOSE_AFTER
                self._retired.append((close_at, before.opened))
            self._active, self._coming = active, None

    def directories(self) -> list[OpenDirectory]:
        """Return the directories that a flush has to reach: the one in force, and the one that is about to be."""
        with self._lock:
            opened = (self._active.opened, self._coming)
        return [one for one in opened if one is not None]

    def directory_numbers(self) -> Numbers:
        """Return what caches and LDAP servers have counted since the start, over reloads."""
        with self._lock:
            total = self._past
            for one in (self._active.opened, *(opened for _, opened in self._retired)):
                total = add(total, _numbers_of(one))
        return total

    def ask_quiet_servers(self) -> None:
        """Have servers asked that no mail has asked for a while, in mode ``pass``, too; returns at once."""
        active = self._active
        active.opened.store.look_in(active.config.ldap.lookup_deadline)

    def close_retired(self) -> None:
        """Close the previous directories that no message can be waiting for any more."""
        now = time.monotonic()
        with self._lock:
            due = [opened for close_at, opened in self._retired if close_at <= now]
            self._retired = [(close_at, opened) for close_at, opened in self._retired if close_at > now]
            for opened in due:
                self._past = add(self._past, _numbers_of(opened))
        for opened in due:
            opened.close()


def warm_up(active: ActiveConfiguration) -> None:
    """Read what every message needs, and say at once when the directory does not answer."""
    try:
        active.opened.directory.for_message().warm_up()
    except StillReading as error:
        _log.warning("%s", error)
    except DirectoryUnavailable as error:
        if not active.opened.store.problems():  # those are said once for all workers
            _log.error("worker %d: directory unavailable: %s", os.getpid(), error)
    else:
        _log.info("worker %d: the directory answers: %s", os.getpid(), active.opened.described)


def _numbers_of(opened: OpenDirectory) -> Numbers:
    return {"cache": asdict(opened.cache.statistics), "servers": dict(opened.store.statistics())}
