"""The books of the relay: what is known of a copy, how it ends, whether it is kept, and what Postfix is told."""

from __future__ import annotations

import contextlib
import logging
import time
from typing import TYPE_CHECKING, Final

from msgspec import Struct
from msgspec.structs import replace

from ldapmilter.address import envelope_address
from ldapmilter.errors import AuditError, LdapmilterError
from ldapmilter.relay.another_message import other_message_id
from ldapmilter.relay.at_work import AtWork
from ldapmilter.relay.kept import OTHER_MESSAGE_ID, KeepError, fields_of
from ldapmilter.relay.lag import Lag
from ldapmilter.relay.recording import Recording
from ldapmilter.relay.replies import BUSY, DONE, LATER, UNKNOWN
from ldapmilter.relay.stored import StateError
from ldapmilter.relay.wrapping import as_it_came

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ldapmilter.delivery.next_hop import NextHop
    from ldapmilter.delivery.settings import RelaySettings
    from ldapmilter.relay.answers import ServerAnswer
    from ldapmilter.relay.ends import End, EndLine
    from ldapmilter.relay.following import Following
    from ldapmilter.relay.journaling import Wrapped
    from ldapmilter.relay.kept import Maildir
    from ldapmilter.relay.spool import Spooled
    from ldapmilter.relay.state import RelayState
    from ldapmilter.relay.stored import KnownCopy
    from ldapmilter.relay.wrapping import Wrapping

_log = logging.getLogger(__name__)

_NOT_IN_THE_AUDIT: Final = "no line of this host's audit knows the token"


class Presented(Struct, frozen=True, kw_only=True):
    """A copy that Postfix presents."""

    copy: KnownCopy
    wrapped: Wrapped | None = None
    """What the archive gets; ``None``: that has still to be made, or the copy does not go to a server."""


class Handling:
    """Handles copies, each by its token, apart from their servers; for any number of threads."""

    def __init__(
        self,
        settings: RelaySettings,
        *,
        state: RelayState,
        following: Following,
        maildir: Maildir,
        write: Callable[[Sequence[EndLine]], Sequence[AuditError | None]],
        host: str,
        wrap: Wrapping = as_it_came,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Prepare.

        Args:
            settings: the ``[relay]`` section; may be replaced while copies are handled.
            state: what is known of copies.
            following: brings it up to date.
            maildir: where refused copies go.
            write: brings lines of the audit to disk; returns for each ``None``, or why it is not there.
            host: this host's name, for the audit.
            wrap: makes of a copy what its archive gets.
            clock: seconds since the epoch.
        """
        self.settings = settings
        self.state = state
        self.following = following
        self.lag = Lag(following, state)
        self.maildir = maildir
        self.at_work = AtWork()
        self.recording = Recording(write, self.lag, host=host, clock=clock)
        self._wrap = wrap
        self._clock = clock

    # -- a copy that Postfix presents ---------------------------------------------------------

    def presented(self, copies: Sequence[tuple[str, Spooled]]) -> list[Presented | str]:
        """Return for each token and its octets what is known, or the reply where there is nothing more to do."""
        # In one step: after an outage of the audit there may be many, and all others wait meanwhile.
        all_owed = self.recording.owed()
        owed = {token: all_owed[token] for token, _ in copies if token in all_owed}
        replies = dict(zip(owed, self._record_owed(list(owed.values())), strict=True)) if owed else {}
        was_another = {
            token for token, line in owed.items() if line["other_message_id"] is not None and replies[token] == DONE
        }
        found = [
            replies[token]
            if token in owed and token not in was_another
            else self._presented(token, message, was_another=token in was_another)
            for token, message in copies
        ]
        lines = [one for one in found if isinstance(one, dict)]
        recorded = iter(self.recording.record(lines) if lines else ())
        return [next(recorded) if isinstance(one, dict) else one for one in found]

    def _presented(self, token: str, message: Spooled, *, was_another: bool) -> Presented | EndLine | str:
        """Look one up; an end that is a fact, and that the audit does not have, is returned to be recorded.

        Args:
            token: a valid one.
            message: its octets.
            was_another: whether an end that was owed until now is another message's than the copy's.
        """
        try:
            copy = self._known(token)
            other = other_message_id(copy.message_id, message.values("message-id"))
            if was_another and other is not None:
                return DONE
            copy = self._told_apart(copy, other)
            if copy.state == "ended" or not copy.is_known:
                return Presented(copy=copy)
            if (kept := self.maildir.read(token)) is not None:
                # It was kept and the audit does not say so: the relay ended in between.
                kept_other = kept.fields.get(OTHER_MESSAGE_ID) or None
                if kept_other is None or other is not None:
                    end: End = "refused" if kept.fields.get("State") == "refused" else "kept"
                    copy = replace(copy, other_message_id=kept_other)
                    return self.recording.line(copy, end, why=kept.fields.get("Why", ""))
                self.maildir.set_aside(token)
        except (AuditError, StateError, KeepError, OSError) as error:
            return self.recording.cannot_record(error)
        except Exception:  # noqa: BLE001 - other copies are looked up with it
            _log.exception("unexpected error with a copy")
            return BUSY
        return Presented(copy=copy, wrapped=self._wrapped_at_once(copy, message))

    def _told_apart(self, copy: KnownCopy, other: str | None) -> KnownCopy:
        """Return what is known of a copy, as what comes is the message that was decided, or another one.

        Raises:
            StateError: the state cannot be written.
            KeepError: another message, which is kept under the token, cannot be set aside.
        """
        if copy.state == "ended":
            if copy.other_message_id is None or other is not None:
                return copy
            self.maildir.set_aside(copy.token)
            self.state.reopen(copy.token)
            return replace(copy, state="waiting", fate="", other_message_id=None)
        if other is None:
            return copy
        _log.warning(
            "token %s: the message that comes is not the one that was decided, by its Message-ID; it is handed on as it"
            " is, and the copy still awaited (docs/copies.md, content filters)",
            copy.token,
        )
        return replace(copy, other_message_id=other)

    def _wrapped_at_once(self, copy: KnownCopy, message: Spooled) -> Wrapped | None:
        """Return what the archive gets, unless that takes the disk or the directory."""
        if message.on_disk and copy.delivery != "tracked":
            return None
        try:
            return self._wrap(copy, message, last_chance=False, memory_only=True)
        except Exception:  # noqa: BLE001 - whatever it is, it is said where the copy is wrapped by all means
            return None

    def without_a_server(self, copy: KnownCopy, message: Spooled) -> str:
        """Return the reply for a copy that has ended, or that no line of the audit knows: it is kept in the end."""
        try:
            if copy.state == "ended":
                return self.recording.end(copy, "repeat", why=f"it had ended: {copy.fate}")
            if self.following.lost.stands_nowhere(copy.token) and self._is_overdue(copy):
                return self._keep(copy, message, "kept", None, _NOT_IN_THE_AUDIT)
            self.state.tried(copy.token, self._clock(), server="", code=None, reply="", why=_NOT_IN_THE_AUDIT)
        except (AuditError, StateError, KeepError) as error:
            return self.recording.cannot_record(error)
        return UNKNOWN

    def wrapped(self, copy: KnownCopy, message: Spooled) -> Wrapped | str:
        """Return what the archive gets of a copy, or the reply where that cannot be made; waits for the directory."""
        overdue = self._is_overdue(copy)
        try:
            try:
                return self._wrap(copy, message, last_chance=overdue)
            except (AuditError, StateError):
                raise
            except Exception as error:  # noqa: BLE001 - a report that cannot be made must not cost the copy
                return self._not_wrapped(copy, message, error, overdue=overdue)
        except (AuditError, StateError, KeepError) as error:
            return self.recording.cannot_record(error)

    def accepted(self, copies: Sequence[tuple[KnownCopy, ServerAnswer]]) -> list[str]:
        """Record that servers have accepted copies; return the replies."""
        replies, lines = [BUSY] * len(copies), {}
        for number, (copy, answer) in enumerate(copies):
            try:
                lines[number] = self.recording.line(copy, "accepted", answer)
            except Exception:  # noqa: BLE001 - other copies are recorded with it
                _log.exception("unexpected error with a copy")
        for number, reply in zip(lines, self.recording.record(list(lines.values())), strict=True):
            replies[number] = reply
        return replies

    def not_accepted(self, copy: KnownCopy, wrapped: Wrapped, answer: ServerAnswer) -> str:
        """Keep a copy that was refused, or is overdue, and record it; note of another one that it was tried.

        Returns:
            the reply.
        """
        try:
            if answer.becomes == "refused":
                return self._keep(copy, wrapped, "refused", answer, "refused by the server")
            if self._is_overdue(copy):
                return self._keep(copy, wrapped, "kept", answer, "not through in time")
            reply, why = (answer.text, "") if answer.code is not None else ("", answer.text)
            self.state.tried(copy.token, self._clock(), server=answer.server, code=answer.code, reply=reply, why=why)
        except (AuditError, StateError, KeepError) as error:
            return self.recording.cannot_record(error)
        return LATER

    def _known(self, token: str) -> KnownCopy:
        """Return what is known of a copy, which is now seen: a known one is noted as that where it takes a while.

        Raises:
            AuditError: the audit cannot be read.
            StateError: the state cannot be read or written.
        """
        current = self.state.is_there() and not self.lag.counts_for(token)
        found = self.state.copy(token) if current else None
        if found is None or not found.is_known:
            self.lag.catch_up()
            found = self.state.copy(token)
        if found is not None and found.state == "ended":
            return found
        now = self._clock()
        if found is None or not found.is_known:
            return self.state.seen(token, now)
        if found.state == "waiting":
            return found
        self.lag.presented(token, now)
        return replace(found, state="waiting", seen_at=now)

    def _not_wrapped(self, copy: KnownCopy, message: Spooled, error: Exception, *, overdue: bool) -> str:
        if not isinstance(error, LdapmilterError):
            _log.error("unexpected error with a copy", exc_info=error)
        if overdue:  # Postfix would give it up before long, and tell nobody
            return self._keep(copy, message, "kept", None, f"as it came: {error}")
        self.state.tried(copy.token, self._clock(), server="", code=None, reply="", why=str(error))
        return LATER

    def hops_for(self, target: str) -> tuple[NextHop, ...]:
        """Return the servers that take copies for a target, in order; none: it has no way."""
        address = envelope_address(target)
        return self.settings.hops_for(address) if address is not None else ()

    def _is_overdue(self, copy: KnownCopy) -> bool:
        return self._clock() - copy.since >= self.settings.keep_after

    # -- ends -------------------------------------------------------------------------------

    def _keep(self, copy: KnownCopy, wrapped: Wrapped, state: End, answer: ServerAnswer | None, why: str) -> str:
        """Keep a copy and record it.

        Raises:
            KeepError: it cannot be kept.
        """
        fields = fields_of(copy, self._clock(), state, answer, why)
        fields["Sender"] = self.settings.envelope_sender
        self.maildir.keep(copy.token, fields, wrapped.chunks())
        reply = self.recording.end(copy, state, answer, why)
        if reply == DONE:
            code = answer.code if answer is not None else None
            _log.error(
                "a copy is kept: %s%s; token %s (ldapmilter copies)", why, f" with {code}" if code else "", copy.token
            )
        return reply

    def record_all_owed(self) -> None:
        """Record all that is owed, but for copies that somebody is at work on."""
        with contextlib.ExitStack() as mine:
            tokens = [token for token in self.recording.owed() if mine.enter_context(self.at_work.on(token))]
            owed = self.recording.owed()  # what is recorded by now is owed no more
            if lines := [owed[token] for token in tokens if token in owed]:
                self._record_owed(lines)

    def _record_owed(self, lines: Sequence[EndLine]) -> list[str]:
        """Bring ends to disk that were owed; return the replies. A copy that was sent again is let go of then."""
        replies = self.recording.record(lines)
        for line, reply in zip(lines, replies, strict=True):
            if reply == DONE and line["state"] == "resent":
                try:
                    self.maildir.remove(line["token"])
                except KeepError as error:  # the next start does it
                    _log.error("%s", error)
        return replies
