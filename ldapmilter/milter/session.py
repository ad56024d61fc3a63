"""One connection of the MTA: callbacks in, one decision per message, effects out.

MAIL and RCPT are collected without an answer. The decision is taken at DATA, where the envelope is
complete and nothing of the message has been sent yet. Where there is nothing to do, the message is
accepted there and then. Header fields are read only when the decision needs them.

The methods may raise: :mod:`~ldapmilter.milter.callbacks` answers for them.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import milter

from ldapmilter.address import strip_brackets
from ldapmilter.errors import LdapmilterError
from ldapmilter.message import PROBE_MACRO
from ldapmilter.milter import effects
from ldapmilter.milter.collected import NOT_CHANGED, CollectedMessage
from ldapmilter.milter.header_fields import HeaderFields
from ldapmilter.milter.macros import as_delivered, as_text, macro, port
from ldapmilter.policy.model import TEMPFAIL_REPLY

if TYPE_CHECKING:
    from ldapmilter.message import HandledMessage
    from ldapmilter.milter.header_mode import HeaderMode
    from ldapmilter.milter.interface import Deciding
    from ldapmilter.milter.negotiation import AgreedOptions
    from ldapmilter.policy.model import Decision

_UNKNOWN = "unknown"  # Postfix's word for a client without an address


class MacroMissing(LdapmilterError):
    """The MTA leaves out what a decision cannot do without; the text says what."""


class SenderNotChanged(LdapmilterError):
    """A message's envelope sender has to change, and the MTA did not agree to it; the text says so."""


class Session:
    """The state of one connection; a connection carries many messages."""

    __slots__ = (
        "client",
        "client_port",
        "daemon",
        "daemon_port",
        "header_mode",
        "introduced",
        "message",
        "negotiated",
        "probe",
    )

    def __init__(self, daemon: Deciding, negotiated: AgreedOptions, header_mode: HeaderMode) -> None:
        """Begin a connection.

        Args:
            daemon: decides.
            negotiated: what the MTA agreed to.
            header_mode: is told what each message needed.
        """
        self.daemon = daemon
        self.negotiated = negotiated
        self.header_mode = header_mode
        self.client: str | None = None
        self.client_port: int | None = None
        self.daemon_port: int | None = None
        self.probe = False
        self.introduced = False
        """Whether it is known who the client is: once in a connection."""
        self.message: CollectedMessage | None = None

    # -- the envelope, without answers ------------------------------------------------------

    def connect(self, _context: Any, _host: str, _family: int, peer: object) -> int:  # noqa: ANN401 - C type
        """Keep the client's address and port, from an MTA that cannot be asked for macros of its own."""
        if isinstance(peer, tuple) and len(peer) > 1:
            self.client, self.client_port = str(peer[0]), int(peer[1])
        return milter.CONTINUE

    def _introduce(self, context: Any) -> None:  # noqa: ANN401 - C type
        """Learn from the macros who the client is (an unknown one has no address), and to which port it came."""
        self.daemon_port = port(macro(context, "{daemon_port}"))
        self.probe = macro(context, PROBE_MACRO) is not None
        if self.negotiated.asks_by_macro:
            client = macro(context, "{client_addr}")
            if client is None:
                message = "the MTA does not send the macro {client_addr}, which it agreed to: its mail is deferred"
                raise MacroMissing(message)
            self.client = None if client == _UNKNOWN else client
            self.client_port = None if self.client is None else port(macro(context, "{client_port}"))
        self.introduced = True

    def mail(self, context: Any, sender: bytes, *_parameters: bytes) -> int:  # noqa: ANN401 - C type
        """Begin a message."""
        self._drop()
        if not self.introduced:
            self._introduce(context)
        text = as_text(sender)
        epoch = self.daemon.in_flight.message_began()
        self.message = CollectedMessage(
            epoch=epoch,
            sender=as_delivered(context, "{mail_addr}", strip_brackets(text)),
            login=macro(context, "{auth_authen}"),
            client=self.client,
            daemon_port=self.daemon_port,
            # sendmail(1) mail: simulated by cleanup, from port 0, addresses without brackets.
            submitted_locally=self.client_port == 0 and not text.startswith("<"),
        )
        return milter.CONTINUE

    def rcpt(self, context: Any, recipient: bytes, *parameters: bytes) -> int:  # noqa: ANN401 - C type
        """Note a recipient."""
        if self.message is not None:
            written = strip_brackets(as_text(recipient))
            self.message.add_recipient(as_delivered(context, "{rcpt_addr}", written), written, parameters)
        return milter.CONTINUE

    # -- the decision -----------------------------------------------------------------------

    def data(self, context: Any) -> int:  # noqa: ANN401 - C type
        """Decide; accept at once when there is nothing to do."""
        collected = self._require()
        decision = self.daemon.decide(collected.envelope, None, collected.basis)
        if decision is None:
            return self._finish(milter.ACCEPT)
        if decision.uneventful:
            self.daemon.done(self._handled(context, collected), decision)
            return self._finish(milter.ACCEPT)
        collected.decision = decision
        if decision.applied_verdict != "accept":
            return self._refuse(context, self._handled(context, collected), decision)
        wanted = collected.wanted_fields(decision, keeps_message_ids=self.daemon.keeps_message_ids)
        if not (wanted or decision.applied):
            self.daemon.done(self._handled(context, collected), decision)
            return self._finish(milter.ACCEPT)
        if wanted:
            collected.fields = HeaderFields(wanted)
            self.header_mode.header_read()
        else:
            self.header_mode.header_skipped()
        if self.negotiated.missing_actions and (wanted - NOT_CHANGED or decision.applied):
            message = f"the MTA does not offer the milter actions {self.negotiated.missing_actions:#x}"
            raise RuntimeError(message)
        return milter.CONTINUE

    def header(self, _context: Any, name: str, value: bytes) -> int:  # noqa: ANN401 - C type
        """Keep the fields that were asked for; skip all when none was."""
        fields = self._require().fields
        if not fields.wanted:
            return milter.SKIP if self.negotiated.may_skip else milter.CONTINUE
        fields.take(name.strip().lower(), value)
        return milter.CONTINUE

    def eom(self, context: Any) -> int:  # noqa: ANN401 - C type
        """Carry the decision out."""
        collected = self._require()
        collected.ended_at = time.monotonic()
        decision = collected.decision
        if decision is None:
            message = "the MTA ended a message without DATA: nothing has been decided"
            raise RuntimeError(message)
        if decision.headers_needed:
            decision = self.daemon.decide(collected.envelope, collected.fields.headers(), collected.basis)
        if decision is None:
            return self._finish(milter.CONTINUE)
        decision = collected.feasible(decision)
        handled = self._handled(context, collected)
        decision = self.daemon.settle(handled, decision)
        if decision.applied_verdict != "accept":
            return self._refuse(context, handled, decision)
        if decision.applied_sender is not None and not self.negotiated.changes_sender:
            message = "the MTA does not let the envelope sender be changed, which a list wants: its posts are deferred"
            raise SenderNotChanged(message)
        self.daemon.done(handled, decision)
        replaced = collected.replaced(decision)
        if replaced and not self.daemon.replaces_recipients():
            replaced = []
        effects.apply(context, decision, collected.fields.counts, replaced)
        return self._finish(milter.CONTINUE)

    def keep_failure(self, error: BaseException) -> None:
        """Have the next callback that answers fail of what went wrong in one that could not."""
        if self.message is None:
            self.message = CollectedMessage(epoch=self.daemon.in_flight.message_began())
        self.message.failure = error

    def give_up(self, context: Any, error: BaseException) -> None:  # noqa: ANN401 - C type
        """Have it known that the message is told to wait, and drop it."""
        if self.message is not None:
            self.daemon.gave_up(self._handled(context, self.message), error)
        self._drop()

    def abort(self, _context: Any) -> int:  # noqa: ANN401 - C type
        """Drop the message: RSET, a lost client, QUIT in mid-message."""
        self._drop()
        return milter.CONTINUE

    def close(self, _context: Any) -> int:  # noqa: ANN401 - C type
        """End the connection."""
        self._drop()
        self.daemon.in_flight.session_ended()
        return milter.CONTINUE

    # -- helpers ----------------------------------------------------------------------------

    def _require(self) -> CollectedMessage:
        collected = self.message
        if collected is None:
            message = "the MTA sent DATA, a header or the end of a message before MAIL"
            raise RuntimeError(message)
        if collected.failure is not None:
            raise collected.failure
        return collected

    def _handled(self, context: Any, collected: CollectedMessage) -> HandledMessage:  # noqa: ANN401 - C type
        return collected.handled(macro(context, "i") or "", probe=self.probe)

    def _refuse(self, context: Any, handled: HandledMessage, decision: Decision) -> int:  # noqa: ANN401 - C type
        self.daemon.done(handled, decision)
        reply(context, decision.smtp_reply or TEMPFAIL_REPLY)
        return self._finish(milter.TEMPFAIL if decision.verdict == "tempfail" else milter.REJECT)

    def _finish(self, verdict: int) -> int:
        self._drop()
        return verdict

    def _drop(self) -> None:
        collected, self.message = self.message, None
        if collected is not None:
            self.daemon.in_flight.message_ended(collected.epoch)


def reply(context: Any, text: str) -> None:  # noqa: ANN401 - C type
    """Set the SMTP reply: code, enhanced code (RFC 3463) and text."""
    code, extended, message = text.split(" ", 2)
    context.setreply(code, extended, message.replace("%", "%%"))
