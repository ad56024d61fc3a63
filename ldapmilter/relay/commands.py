"""What an administrator may do with copies: send kept ones again, discard copies, take another host's audit over."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from ldapmilter.address import envelope_address
from ldapmilter.errors import LdapmilterError
from ldapmilter.relay.kept import OTHER_MESSAGE_ID, KeepError
from ldapmilter.relay.outgoing import Outgoing
from ldapmilter.relay.replies import DONE
from ldapmilter.relay.stored import KnownCopy, StateError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ldapmilter.delivery.next_hop import NextHop
    from ldapmilter.relay.answers import ServerAnswer
    from ldapmilter.relay.handling import Handling
    from ldapmilter.relay.kept import KeptCopy

    HandOn = Callable[[Sequence[NextHop], Outgoing, float], ServerAnswer]

RESEND_PAUSE: Final = 0.1
"""Seconds between two copies that are sent again: at most 10 a second."""
MOST_TOKENS: Final = 50
"""Of one request; whoever has more asks again."""
SECONDS: Final = 240.0
"""For which one copy may take."""
TURN_SECONDS: Final = 20.0
"""For which a request waits for another one."""
_ENDS: Final = "the relay ends: ask again in a moment"


class CommandRefused(LdapmilterError):
    """What was asked cannot be done; the text says why, and the way out."""


class Commands:
    """Serves requests, one at a time."""

    def __init__(
        self,
        handling: Handling,
        hand_on: HandOn,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Prepare.

        Args:
            handling: keeps the books.
            hand_on: as :meth:`~ldapmilter.relay.hops.Hops.hand_on`, but returns when that is done.
            clock: seconds, monotonic; that of the hops.
            sleep: waits for so many seconds.
        """
        self._handling = handling
        self._hand_on = hand_on
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._ending = False

    def at_work(self) -> bool:
        """Whether a request is being served."""
        return self._lock.locked()

    def end(self) -> None:
        """Begin with no further copy: the relay ends."""
        self._ending = True

    def serve(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Serve a request: ``action`` is ``resend``, ``discard`` or ``learn``.

        Returns:
            for ``resend`` and ``discard`` ``results``: for each token what became of it (``state``: an end of the
            audit, or ``unchanged``) and ``code``, ``reply``, ``why``; for ``learn`` ``lines``: how many tell of copies.

        Raises:
            LdapmilterError: it cannot be served; nothing was done.
        """
        if not self._lock.acquire(timeout=TURN_SECONDS):
            message = "the relay is at work on another request: ask again when that is done"
            raise CommandRefused(message)
        try:
            if self._ending:
                raise CommandRefused(_ENDS)
            try:
                return self._serve(request)
            finally:
                self._handling.recording.catch_up()  # whoever asked looks at once what has become of it
        finally:
            self._lock.release()

    def _serve(self, request: Mapping[str, Any]) -> dict[str, Any]:
        action = request.get("action")
        if action == "resend":
            return {"results": self._resend(_tokens(request), str(request.get("to") or ""))}
        if action == "discard":
            why = str(request.get("why") or "").strip()
            if not why:
                message = "to discard a copy takes a reason (--why TEXT)"
                raise CommandRefused(message)
            return {"results": [self._with(token, self._discard, why) for token in _tokens(request)]}
        if action == "learn":
            return {"lines": self._handling.following.learn(Path(str(request.get("file") or "")))}
        message = f"the relay knows no action {action!r}"
        raise CommandRefused(message)

    # -- sending again ----------------------------------------------------------------------

    def _resend(self, tokens: Sequence[str], to: str) -> list[dict[str, Any]]:
        if to and envelope_address(to) is None:
            message = f"--to {to}: is no address"
            raise CommandRefused(message)
        results = []
        for number, token in enumerate(tokens):
            if number:
                self._sleep(RESEND_PAUSE)
            results.append(self._with(token, self._resend_one, to))
        return results

    def _with(self, token: str, work: Callable[[str, str], dict[str, Any]], how: str) -> dict[str, Any]:
        """Do something with a copy, if nobody else does; what cannot be done with it concerns no other."""
        if self._ending:
            return _unchanged(token, _ENDS)
        with self._handling.at_work.on(token) as mine:
            if not mine:
                return _unchanged(token, "the relay is at work on it")
            try:
                self._handling.recording.catch_up()  # it may have ended just now
                return work(token, how)
            except (KeepError, StateError) as error:
                return _unchanged(token, str(error))

    def _resend_one(self, token: str, to: str) -> dict[str, Any]:
        handling = self._handling
        kept = handling.maildir.read(token)
        if kept is None:
            return _unchanged(token, _why_not_kept(handling.state.copy(token)))
        if (reply := handling.recording.record_owed(token, "resent")) is not None:
            return self._resent(token, reply, {"code": None, "reply": "it was accepted before", "server": ""})
        copy = _with_file(handling.state.copy(token), token, kept)
        if copy.state == "ended" and copy.fate != "kept":  # it could not be removed then
            return _unchanged(token, f"it has ended: {copy.fate}")
        return self._hand_over(copy, kept, to or copy.target or kept.fields.get("Target", ""))

    def _hand_over(self, copy: KnownCopy, kept: KeptCopy, target: str) -> dict[str, Any]:
        handling, token = self._handling, copy.token
        hops = handling.hops_for(target)
        if not hops:
            return _unchanged(token, "no next hop takes copies for its target: --to ADDRESS names another")
        outgoing = Outgoing(
            target=target,
            sender=handling.settings.envelope_sender,
            chunks=kept.chunks,
            on_disk=True,
            eight_bit=not _is_ascii(kept.chunks()),
        )
        answer = self._hand_on(hops, outgoing, self._clock() + SECONDS)
        told = {"code": answer.code, "reply": answer.text, "server": answer.server}
        if answer.becomes != "accepted":
            if answer.code is None and (answer.hop_is_down or answer.step in {"connect", "tls"}):  # our words, not its
                return {**_unchanged(token, f"it was not accepted: {answer.text}"), **told, "reply": ""}
            return {**_unchanged(token, "it was not accepted"), **told}
        return self._resent(token, handling.recording.end(copy, "resent", answer, target=target), told)

    def _resent(self, token: str, reply: str, told: Mapping[str, Any]) -> dict[str, Any]:
        """Let a copy go that was accepted, if that is recorded."""
        handling = self._handling
        if reply != DONE:
            why = f"it was accepted, which cannot be recorded: {handling.recording.problem}"
            return {**_unchanged(token, why), **told}
        why = ""
        try:
            handling.maildir.remove(token)
        except KeepError as error:
            why = str(error)
        return {"token": token, "state": "resent", "why": why, **told}

    # -- discarding -------------------------------------------------------------------------

    def _discard(self, token: str, why: str) -> dict[str, Any]:
        handling = self._handling
        kept = handling.maildir.read(token)
        copy = handling.state.copy(token)
        if kept is not None:
            copy = _with_file(copy, token, kept)
        if copy is None:
            return _unchanged(token, "no such copy is known here")
        if copy.state == "ended" and copy.fate != "kept":
            return _unchanged(token, f"it has ended: {copy.fate}")
        if handling.recording.end(copy, "discarded", why=why) != DONE:
            return _unchanged(token, f"it cannot be recorded: {handling.recording.problem}")
        told = why
        try:
            handling.maildir.remove(token)
        except KeepError as error:
            told = f"{why}; {error}"
        return {"token": token, "state": "discarded", "code": None, "reply": "", "why": told}


def _tokens(request: Mapping[str, Any]) -> list[str]:
    tokens = request.get("tokens")
    if not isinstance(tokens, list) or not all(isinstance(token, str) and token.isalnum() for token in tokens):
        message = "no tokens, or not as text"
        raise CommandRefused(message)
    if len(tokens) > MOST_TOKENS:
        message = f"more than {MOST_TOKENS} tokens at a time"
        raise CommandRefused(message)
    return tokens


def _with_file(copy: KnownCopy | None, token: str, kept: KeptCopy) -> KnownCopy:
    """Return what is known of a copy that is kept; the file itself says whether it is another message."""
    known = copy or KnownCopy(token=token, state="ended", fate="kept", target=kept.fields.get("Target", ""))
    other = kept.fields.get(OTHER_MESSAGE_ID)
    return known if other is None else replace(known, other_message_id=other or None)


def _why_not_kept(copy: KnownCopy | None) -> str:
    """Say of a copy that is not in the Maildir why it cannot be sent again."""
    if copy is None:
        return "no such copy is known here"
    if copy.state == "waiting":
        return "it is not kept, it waits in Postfix's queue: postqueue -f has Postfix come with it now"
    if copy.state == "decided":
        return "it is not kept, Postfix has not come with it yet"
    if copy.fate == "kept":
        return "it is kept, and its file is not there: backups of [relay] kept may have it"
    return f"it has ended: {copy.fate}"


def _unchanged(token: str, why: str) -> dict[str, Any]:
    return {"token": token, "state": "unchanged", "code": None, "reply": "", "why": why}


def _is_ascii(chunks: Iterable[bytes]) -> bool:
    return all(chunk.isascii() for chunk in chunks)
