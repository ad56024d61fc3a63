"""The running service: one process, libmilter in a thread of its own, signals in the main thread."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import threading
import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import milter

from ldapmilter.daemon import decision_log
from ldapmilter.daemon.listener import Listener, listen
from ldapmilter.directory.opening import OpenDirectory, open_directory
from ldapmilter.errors import DirectoryUnavailable
from ldapmilter.milter import session
from ldapmilter.policy.decide import decide

if TYPE_CHECKING:
    from ldapmilter.config import Config
    from ldapmilter.message import Envelope, Headers
    from ldapmilter.policy.model import Decision

_log = logging.getLogger(__name__)

_DRAIN_SECONDS = 30.0
_REMINDER_SECONDS = 60.0


class Service:
    """Decides for every session: the configuration, the directory, and what is in flight."""

    def __init__(self, config: Config) -> None:
        """Open the directory.

        Raises:
            ConfigError: it cannot be opened as configured.
        """
        self._config = config
        self._policy = config.policy
        self._opened: OpenDirectory = open_directory(config)
        self._lenient = config.policy.directory_failure == "accept"
        self._broken: set[str] = set()
        """Confidential copy classes of which an invalid value has been said in this minute."""
        self._in_flight = 0
        self._lock = threading.Lock()

    def decide(self, envelope: Envelope, headers: Headers | None) -> Decision | None:
        """Return the decision for one message, or ``None`` when policy is switched off."""
        if self._policy.switched_off():
            return None
        return decide(
            envelope,
            self._opened.directory.for_message(lenient=self._lenient),
            self._policy,
            today=datetime.now(timezone.utc).date(),
            headers=headers,
        )

    def done(self, queue_id: str, envelope: Envelope, decision: Decision) -> None:
        """Log a decision.

        That a confidential value is broken is said apart and once a minute at most, without naming
        the message: a line for each would tell on whom there is one.
        """
        _log.info("%s", decision_log.line(queue_id, envelope, decision, self._policy))
        broken = {notice.invalid_value_of for notice in decision.warnings if notice.confidential}
        for name in sorted(broken - self._broken - {None}, key=str):
            self._broken.add(str(name))
            _log.error("copy class %s has an invalid value that is in use; ldapmilter explain names it", name)

    def transaction_began(self) -> None:
        """Count a message in flight."""
        with self._lock:
            self._in_flight += 1

    def transaction_ended(self) -> None:
        """Count a message that is through."""
        with self._lock:
            self._in_flight -= 1

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT; return the exit status.

        Raises:
            CannotListen: the socket cannot be bound.
        """
        session.register(self)
        listener = listen(self._config.milter)
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: None)
        serving = threading.Thread(target=self._serve, args=(writing,), name="libmilter", daemon=True)
        serving.start()
        _log.info("listening on %s", self._config.milter.socket)
        threading.Thread(target=self._warm_up, name="warm-up", daemon=True).start()
        return self._wait(reading, listener)

    def _warm_up(self) -> None:
        """Read what every message needs, and say at once when the directory does not answer."""
        try:
            self._opened.directory.for_message().warm_up()
        except DirectoryUnavailable as error:
            _log.error("directory unavailable: %s", error)
        else:
            _log.info("the directory answers: %s", self._opened.described)

    def _serve(self, writing: int) -> None:
        try:
            milter.main()
        except milter.error:
            _log.exception("libmilter stopped")
        with contextlib.suppress(OSError):
            os.write(writing, b"\0")

    def _wait(self, reading: int, listener: Listener) -> int:
        while True:
            ready, _, _ = select.select([reading], [], [], _REMINDER_SECONDS)
            numbers = os.read(reading, 64) if ready else b""
            if 0 in numbers:
                listener.remove()
                return 1
            if signal.SIGTERM in numbers or signal.SIGINT in numbers:
                self._drain(listener)
                return 0
            if signal.SIGHUP in numbers:
                _log.warning("SIGHUP: the configuration is read at start only; restart to change it")
            for text in self._policy.not_applied():
                _log.warning("%s", text)
            self._broken.clear()
            for text in self._opened.store.problems():
                _log.error("directory: %s", text)

    def _drain(self, listener: Listener) -> None:
        """Refuse new connections, let messages in flight finish (bounded), and be gone."""
        listener.refuse_new_connections()
        deadline = time.monotonic() + _DRAIN_SECONDS
        while self._in_flight > 0 and time.monotonic() < deadline:
            time.sleep(0.02)
        _log.info("stopped with %d messages in flight", self._in_flight)
        self._opened.close()
