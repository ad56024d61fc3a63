"""The MTA's side of the milter protocol: a message through a running milter, as Postfix would send it.

NAME        MilterClient
SUMMARY     one SMTP session at a milter; each ``run`` is one message of it
USED BY     ``ldapmilter probe``, the tests, the benchmarks
SOURCE      Postfix src/milter/milter8.c (what is sent when) and src/cleanup/cleanup_milter.c
            (what a modification does)
DIAGNOSTICS every failure is a :class:`~ldapmilter.errors.DaemonUnreachable`, after which the
            connection is closed; a verdict of the milter is never an exception
BUGS        looking up a host name is not bounded by the deadline; an address is
"""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

from ldapmilter.errors import DaemonUnreachable
from ldapmilter.mta import wire
from ldapmilter.mta.dial import dial
from ldapmilter.mta.events import Step, greeting, message, raw, raw_headers
from ldapmilter.mta.headers import modified
from ldapmilter.mta.replies import GO_ON, VERDICTS, MilterReply, Requests, smtp_reply, text_of
from ldapmilter.mta.stream import ConnectionClosedError, PacketStream, ProtocolError
from ldapmilter.mta.transaction import RejectedRecipient, TransactionOutcome, Verdict, available_macros, macros_for
from ldapmilter.mta.wire import EVENTS, Protocol, Stage

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from ldapmilter.mta.transaction import Client, Transaction
    from ldapmilter.socket_address import SocketAddress


class MilterClient:
    """One connection to a milter, which is one SMTP session of one client.

    A context manager that quits at the end. Not for several threads at once.
    """

    def __init__(
        self,
        sock: socket.socket,
        *,
        name: str = "milter",
        timeout: float = 30.0,
        as_postfix: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Negotiate on a connected socket, which belongs to the client from now on.

        ``timeout`` is in seconds, for the negotiation and for each run as a whole. Without
        ``as_postfix`` the client does as sendmail: no macros for events that are not sent,
        none before single headers and body chunks, no second abort at the end, and TCP_NODELAY.

        Raises:
            DaemonUnreachable: nothing, or not a milter, answers.
        """
        self._stream = PacketStream(sock, name=name, clock=clock)
        self._timeout = timeout
        self._as_postfix = as_postfix
        self._clock = clock
        self._client: Client | None = None
        self._session: tuple[Stage, MilterReply] | None = None
        self._skipped: Stage | None = None
        self._awaited = 0
        self._closed = False
        if not as_postfix and sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self.negotiated = self._negotiate()
            """What the milter asked for."""
        except DaemonUnreachable:
            self.close()
            raise

    @classmethod
    def connect(cls, address: SocketAddress, timeout: float = 30.0, *, as_postfix: bool = True) -> MilterClient:
        """Connect to a milter and negotiate.

        Raises:
            DaemonUnreachable: the text names the socket and says why: no such socket, not a socket,
                permission denied, no process listens, no answer within ``timeout`` seconds.
        """
        return cls(dial(address, timeout), name=str(address), timeout=timeout, as_postfix=as_postfix)

    def __enter__(self) -> MilterClient:  # noqa: PYI034 - Self is younger than Python 3.10
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.quit()

    def run(self, transaction: Transaction) -> TransactionOutcome:
        """Pass one message through the milter and return what it did.

        The first run greets the milter with the client of its transaction; later runs are further
        messages of that client, each after the abort that Postfix sends when a message is over.

        Raises:
            DaemonUnreachable: the milter went away, was silent past the timeout (one deadline for
                the whole run) or broke the protocol. The connection is closed.
            ValueError: the transaction is of another client than the first one.
        """
        if self._client not in (None, transaction.client):
            raise ValueError("a milter connection is the session of one client; connect anew for another")
        began = self._clock()
        before = (self._stream.packets_sent, self._stream.bytes_sent, self._awaited)
        requests = Requests()
        try:
            stage, answer = self._pass(transaction, requests)
        except DaemonUnreachable:
            self.close()
            raise
        verdict = answer.verdict or Verdict.ACCEPT
        stands = verdict is Verdict.ACCEPT
        headers = raw_headers(transaction)
        changes = requests.headers if stands else []
        return TransactionOutcome(
            verdict=verdict,
            stage=stage,
            reply=answer.reply,
            headers_after=modified(headers, changes, leading_space=self._leading_space),
            header_modifications=tuple(requests.headers),
            added_recipients=tuple(requests.added),
            deleted_recipients=tuple(requests.deleted),
            changed_sender=requests.sender,
            recipients_rejected=tuple(requests.rejected),
            replaced_body=None if requests.body is None else bytes(requests.body),
            quarantine=requests.quarantine,
            packets_sent=self._stream.packets_sent - before[0],
            bytes_sent=self._stream.bytes_sent - before[1],
            replies_awaited=self._awaited - before[2],
            seconds=self._clock() - began,
        )

    def quit(self) -> None:
        """End the session (SMFIC_QUIT) and close; harmless when it is over already."""
        if not self._closed:
            try:
                self._stream.allow(self._timeout)
                if self._as_postfix and self._client is not None:
                    self._stream.send(wire.SMFIC_ABORT)  # smtpd resets at QUIT, even after a message
                self._stream.send(wire.SMFIC_QUIT)
                self._stream.flush()
            except DaemonUnreachable:
                pass  # it is gone, which is what was wanted
            self.close()

    def close(self) -> None:
        """Drop the connection without a word, as an MTA that dies."""
        self._closed = True
        self._stream.close()

    def _negotiate(self) -> wire.Negotiated:
        self._stream.allow(self._timeout)
        self._stream.send(wire.SMFIC_OPTNEG, wire.negotiation(wire.ALL_ACTIONS, wire.ALL_PROTOCOL))
        command, payload = self._stream.receive()
        if command != wire.SMFIC_OPTNEG:
            raise self._broken(f"it answered the negotiation with {command!r}")
        try:
            return wire.read_negotiation(payload, wire.ALL_ACTIONS)
        except ValueError as error:
            raise self._broken(str(error)) from None

    def _pass(self, transaction: Transaction, requests: Requests) -> tuple[Stage, MilterReply]:
        """Send everything that the milter wants to see, until a verdict falls."""
        if self._session is not None:
            return self._session
        if self._closed:
            raise ConnectionClosedError(f"{self._stream.name}: the session is over; connect anew")
        self._stream.allow(self._timeout)
        if self._client is None:
            self._client = transaction.client
            for step in greeting(transaction):
                answer = self._event(step, transaction, requests)
                if answer.verdict is not None:
                    # It holds for the whole session: Postfix hangs up (LIBMILTER_AUTO_DISCONNECT).
                    return self._end_session(step.stage, answer)
        stage, answer = self._message(transaction, requests)
        if answer.closes:
            return self._end_session(stage, answer)
        self._stream.send(wire.SMFIC_ABORT)
        return stage, answer

    def _message(self, transaction: Transaction, requests: Requests) -> tuple[Stage, MilterReply]:
        """Send one message; return where the verdict fell, and the verdict."""
        accepted = 0
        refusal = GO_ON
        for step in message(transaction, leading_space=self._leading_space):
            if step.stage is Stage.DATA and not accepted:
                return Stage.RCPT, refusal  # no recipient is left
            answer = self._event(step, transaction, requests, has_queue_id=accepted > 0)
            if step.recipient is not None and answer.refuses and not answer.closes:
                refusal = answer
                rejected = RejectedRecipient(address=step.recipient.address, reply=answer.reply or "")
                requests.rejected.append(rejected)
                continue
            if answer.verdict is not None:
                return step.stage, answer
            if step.recipient is not None:
                accepted += 1
            elif step.stage is Stage.DATA:
                self._stream.flush()  # the content is sent by another process, cleanup (milter8_send)
        return Stage.EOM, GO_ON

    def _event(
        self, step: Step, transaction: Transaction, requests: Requests, *, has_queue_id: bool = True
    ) -> MilterReply:
        """Send one event as far as the milter wants it, and wait for the answer if there is to be one."""
        event = EVENTS[step.stage]
        if self._skipped is step.stage or self.negotiated.version < event.since:
            return GO_ON
        self._skipped = None
        wanted = not self.negotiated.protocol & event.unwanted
        if self._has_macros(step.stage, wanted=wanted):
            macros = self._macros(step, transaction, has_queue_id=has_queue_id)
            self._stream.send(wire.SMFIC_MACRO, event.command + macros)
        if not wanted:
            return GO_ON
        self._stream.send(event.command, step.payload)
        if self.negotiated.protocol & event.no_reply:
            return GO_ON
        self._awaited += 1
        answer = None
        while answer is None:
            command, payload = self._stream.receive()
            answer = self._answer(step.stage, command, payload, requests)
        if answer.skips:
            self._skipped = step.stage
        return answer

    def _has_macros(self, stage: Stage, *, wanted: bool) -> bool:
        """Whether a macro packet goes ahead of an event.

        Postfix 3.7 sends it even where the event is not wanted, but for those of the content, which it
        does not look at then (seen on the wire; mime_state_alloc in milter8_message).
        """
        if self._as_postfix:
            return wanted or stage not in (Stage.HEADER, Stage.EOH, Stage.BODY)
        return wanted and stage not in (Stage.HEADER, Stage.BODY)

    def _macros(self, step: Step, transaction: Transaction, *, has_queue_id: bool) -> bytes:
        """Return the arguments of a macro packet: names and values in turn, possibly none."""
        stage = wire.SYMBOL_STAGES[EVENTS[step.stage].symbols]
        has_queue_id = has_queue_id and step.stage is not Stage.MAIL
        macros = macros_for(stage, transaction, step.recipient, has_queue_id=has_queue_id)
        if stage in self.negotiated.symbols:
            known = available_macros(transaction) | macros
            names = map(_macro_name, self.negotiated.symbols[stage])
            macros = {name: known[name] for name in names if name in known}
        return wire.strings(raw(text) for pair in macros.items() for text in pair)

    def _answer(self, stage: Stage, command: bytes, payload: bytes, requests: Requests) -> MilterReply | None:
        """Return the answer that one packet is, or ``None`` when more packets belong to it."""
        if command in VERDICTS and not payload:
            answer = VERDICTS[command]
            ignored = answer.verdict is Verdict.DISCARD and stage in (Stage.CONNECT, Stage.HELO)
            return GO_ON if ignored else answer  # there is no message yet to discard: Postfix goes on
        if command == wire.SMFIR_PROGRESS and not payload:
            return None
        try:
            if command == wire.SMFIR_REPLYCODE:
                return smtp_reply(payload)
            if command == wire.SMFIR_QUARANTINE:
                requests.quarantine = text_of(payload.partition(b"\0")[0])
                return None
            if stage is Stage.EOM and requests.take(command, payload):
                return None
        except ValueError as error:
            raise self._broken(str(error)) from None
        raise self._broken(f"it answered {stage.value} with {command!r} and {len(payload)} bytes")

    @property
    def _leading_space(self) -> bool:
        return bool(self.negotiated.protocol & Protocol.HDR_LEADSPC)

    def _end_session(self, stage: Stage, answer: MilterReply) -> tuple[Stage, MilterReply]:
        self._session = (stage, answer)
        self.close()
        return self._session

    def _broken(self, reason: str) -> ProtocolError:
        return ProtocolError(f"{self._stream.name}: this is not the milter protocol: {reason}")


def _macro_name(symbol: str) -> str:
    """Return a macro name as it travels: one letter as it is, a longer name in braces."""
    return symbol if len(symbol) == 1 or symbol.startswith("{") else f"{{{symbol}}}"
