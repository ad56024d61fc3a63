"""One connection of the MTA: callbacks in, one decision per message, effects out.

MAIL and RCPT are collected without an answer, and what CONNECT would tell is asked for as macros,
which come anyway: every callback costs two turns at the interpreter's lock, which all connections
of a process share. The decision is taken at DATA, where the envelope is complete and nothing of
the message has been sent yet. Where there is nothing to do the
message is accepted there and then. Header fields are read only when the decision needs them.

Nothing here can hang the client: callbacks without a reply cannot raise (the failure is kept until
the next one that replies), those with a reply turn whatever goes wrong into 451.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from functools import wraps
from typing import TYPE_CHECKING, Any, Protocol

import milter

from ldapmilter.address import parse_address, strip_brackets
from ldapmilter.errors import LdapmilterError
from ldapmilter.message import Envelope, HandledMessage, Headers
from ldapmilter.milter import effects
from ldapmilter.milter.habit import Habit
from ldapmilter.policy.model import TEMPFAIL_REPLY

if TYPE_CHECKING:
    from collections.abc import Callable

    from ldapmilter.policy.model import Decision

_log = logging.getLogger(__name__)

ACTIONS = milter.ADDRCPT | milter.ADDRCPT_PAR | milter.CHGHDRS | milter.ADDHDRS
"""What a decision may need. ADDRCPT_PAR: without NOTIFY=NEVER a copy would bounce to the author."""
_NOT_ASKED_FOR = milter.P_NOHELO | milter.P_NOUNKNOWN | milter.P_NOBODY
# The end of the header is asked for although nothing is done there: libmilter takes no end of a
# message right after DATA, so a message without any header field would never be answered.
_UNANSWERED = milter.P_NR_CONN | milter.P_NR_MAIL | milter.P_NR_RCPT | milter.P_NR_EOH
_FROM = "from"
_MESSAGE_ID = "message-id"
PROBE_MACRO = "{ldapmilter_probe}"
"""Sent with its messages by ``ldapmilter probe``, and by no MTA."""
_CONNECT_MACROS = f"{{client_addr}} {{client_port}} {{daemon_port}} {PROBE_MACRO}"
"""What a session needs to know of its client; Postfix sends the addresses and ports only when asked."""
# More header fields of the few kinds that are kept than any mail program writes; past it the
# message is held rather than decided on a part of its header.
_MAX_FIELDS = 1000
_UNKNOWN = "unknown"  # Postfix's word for a client without an address
_UNREADABLE = "?"
_PORT_DIGITS = 5


class MacroMissing(LdapmilterError):
    """The MTA leaves out what a decision cannot do without; the text says what."""


class Deciding(Protocol):
    """What a session needs from the daemon."""

    def decide(self, envelope: Envelope, headers: Headers | None) -> Decision | None:
        """Return the decision, or ``None`` when policy is switched off (mode ``pass``)."""

    def wants_message_id(self, decision: Decision) -> bool:
        """Whether the header is worth reading for the Message-ID alone."""

    def done(self, message: HandledMessage, decision: Decision) -> None:
        """Take note of a decision that is about to be carried out.

        Raises:
            LdapmilterError: the note cannot be taken and has to be: the message waits.
        """

    def failed(self) -> None:
        """Take note of an unexpected error, for which a message waits."""

    def session_began(self) -> None:
        """Count a connection."""

    def session_ended(self) -> None:
        """Count a connection that is closed."""

    def transaction_began(self) -> int:
        """Count a message in flight; return what to hand to :meth:`transaction_ended`."""

    def transaction_ended(self, epoch: int) -> None:
        """Count a message that is through."""


@dataclass(slots=True)
class Transaction:
    """One message: made at MAIL, dropped at the end of the message and at abort."""

    sender: str
    login: str | None
    submitted_locally: bool
    epoch: int
    """What the daemon counts it under."""
    recipients: list[str] = field(default_factory=list)
    fields: list[tuple[str, str]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    """How many fields of each wanted name there were."""
    decision: Decision | None = None
    wanted: frozenset[str] = frozenset()
    """Names of the header fields to keep (lower case)."""
    failure: BaseException | None = None
    """What went wrong in a callback that could not answer."""


class Session:
    """The state of one connection; a connection carries many messages."""

    def __init__(self, daemon: Deciding, habit: Habit) -> None:
        """Begin a connection."""
        self.daemon = daemon
        self.habit = habit
        self.client: str | None = None
        self.client_port: int | None = None
        self.daemon_port: int | None = None
        self.probe = False
        self.introduced = False
        """Whether it is known who the client is: once in a connection."""
        self.transaction: Transaction | None = None
        self.may_skip = False
        self.asks_by_macro = False
        """Whether the MTA was asked for macros instead of CONNECT."""
        self.missing_actions = 0
        self.unanswered = 0
        """Steps that the MTA waits for no answer to (P_NR_*), as negotiated."""

    # -- the envelope, without answers ------------------------------------------------------

    def connect(self, _context: Any, _host: str, _family: int, peer: object) -> int:  # noqa: ANN401 - C type
        """Keep the client's address and port, from an MTA that cannot be asked for macros of its own."""
        if isinstance(peer, tuple) and len(peer) > 1:
            self.client, self.client_port = str(peer[0]), int(peer[1])
        return milter.CONTINUE

    def _introduce(self, context: Any) -> None:  # noqa: ANN401 - C type
        """Learn from the macros who the client is (an unknown one has no address), and to which port it came."""
        self.daemon_port = _port(_macro(context, "{daemon_port}"))
        self.probe = _macro(context, PROBE_MACRO) is not None
        if self.asks_by_macro:
            client = _macro(context, "{client_addr}")
            if client is None:
                message = "the MTA does not send the macro {client_addr}, which it agreed to: its mail waits"
                raise MacroMissing(message)
            self.client = None if client == _UNKNOWN else client
            self.client_port = None if self.client is None else _port(_macro(context, "{client_port}"))
        self.introduced = True

    def mail(self, context: Any, sender: bytes, *_parameters: bytes) -> int:  # noqa: ANN401 - C type
        """Begin a message."""
        self._drop()
        if not self.introduced:
            self._introduce(context)
        text = _text(sender)
        epoch = self.daemon.transaction_began()
        self.transaction = Transaction(
            sender=_as_delivered(context, "{mail_addr}", strip_brackets(text)),
            login=_macro(context, "{auth_authen}"),
            # sendmail(1) mail: simulated by cleanup, from port 0, addresses without brackets.
            submitted_locally=self.client_port == 0 and not text.startswith("<"),
            epoch=epoch,
        )
        return milter.CONTINUE

    def rcpt(self, context: Any, recipient: bytes, *_parameters: bytes) -> int:  # noqa: ANN401 - C type
        """Note a recipient."""
        if self.transaction is not None:
            text = _as_delivered(context, "{rcpt_addr}", strip_brackets(_text(recipient)))
            self.transaction.recipients.append(text)
        return milter.CONTINUE

    # -- the decision -----------------------------------------------------------------------

    def data(self, context: Any) -> int:  # noqa: ANN401 - C type
        """Decide; accept at once when there is nothing to do."""
        transaction = self._require()
        decision = self.daemon.decide(self._envelope(transaction), None)
        if decision is None:
            return self._finish(milter.ACCEPT)
        transaction.decision = decision
        if decision.applied_verdict != "accept":
            return self._refuse(context, decision)
        if decision.headers_needed:
            transaction.wanted = decision.headers_needed | {_FROM}
        elif decision.applied_from is not None or decision.applied_header_changes:
            transaction.wanted = frozenset({_FROM})  # to know how many there are: one is left
        elif not decision.applied_copies:
            self._note(context, decision)
            return self._finish(milter.ACCEPT)
        if transaction.wanted or self.daemon.wants_message_id(decision):
            transaction.wanted |= {_MESSAGE_ID}
        if transaction.wanted:
            self.habit.read()
        else:
            self.habit.skipped()
        if self.missing_actions:
            message = f"the MTA does not offer the milter actions {self.missing_actions:#x}"
            raise RuntimeError(message)
        return milter.CONTINUE

    def header(self, _context: Any, name: str, value: bytes) -> int:  # noqa: ANN401 - C type
        """Keep the fields that were asked for; skip all when none was."""
        transaction = self._require()
        if not transaction.wanted:
            return milter.SKIP if self.may_skip else milter.CONTINUE
        folded = name.strip().lower()
        if folded in transaction.wanted:
            transaction.counts[folded] = transaction.counts.get(folded, 0) + 1
            if len(transaction.fields) >= _MAX_FIELDS:
                message = f"more than {_MAX_FIELDS} header fields of {sorted(transaction.wanted)}"
                raise RuntimeError(message)
            transaction.fields.append((folded, _text(value)))
            if folded == _MESSAGE_ID:  # one is enough, and it may have been all
                transaction.wanted -= {_MESSAGE_ID}
        return milter.CONTINUE

    def eom(self, context: Any) -> int:  # noqa: ANN401 - C type
        """Carry the decision out."""
        transaction = self._require()
        decision = transaction.decision
        if decision is None:
            message = "the MTA ended a message without DATA: nothing has been decided"
            raise RuntimeError(message)
        if decision.headers_needed:
            decision = self.daemon.decide(self._envelope(transaction), Headers(fields=tuple(transaction.fields)))
        if decision is None:
            return self._finish(milter.CONTINUE)
        if decision.applied_verdict != "accept":
            return self._refuse(context, decision)
        self._note(context, decision)
        effects.apply(context, decision, transaction.counts)
        return self._finish(milter.CONTINUE)

    def abort(self, _context: Any) -> int:  # noqa: ANN401 - C type
        """Drop the message: RSET, a lost client, QUIT in mid-message."""
        self._drop()
        return milter.CONTINUE

    def close(self, _context: Any) -> int:  # noqa: ANN401 - C type
        """End the connection."""
        self._drop()
        self.daemon.session_ended()
        return milter.CONTINUE

    # -- helpers ----------------------------------------------------------------------------

    def _require(self) -> Transaction:
        transaction = self.transaction
        if transaction is None:
            message = "the MTA sent DATA, a header or the end of a message before MAIL"
            raise RuntimeError(message)
        if transaction.failure is not None:
            raise transaction.failure
        return transaction

    def _envelope(self, transaction: Transaction) -> Envelope:
        return Envelope(
            login=transaction.login,
            client=self.client,
            sender=transaction.sender,
            recipients=tuple(transaction.recipients),
            submitted_locally=transaction.submitted_locally,
            daemon_port=self.daemon_port,
        )

    def _note(self, context: Any, decision: Decision) -> None:  # noqa: ANN401 - C type
        transaction = self._require()
        message = HandledMessage(
            queue_id=_macro(context, "i") or "",
            envelope=self._envelope(transaction),
            message_id=next((value.strip() for name, value in transaction.fields if name == _MESSAGE_ID), None),
            old_from=tuple(value for name, value in transaction.fields if name == _FROM)
            if _FROM in transaction.wanted
            else None,
            probe=self.probe,
        )
        self.daemon.done(message, decision)

    def _refuse(self, context: Any, decision: Decision) -> int:  # noqa: ANN401 - C type
        self._note(context, decision)
        reply(context, decision.smtp_reply or TEMPFAIL_REPLY)
        return self._finish(milter.TEMPFAIL if decision.verdict == "tempfail" else milter.REJECT)

    def _finish(self, verdict: int) -> int:
        self._drop()
        return verdict

    def _drop(self) -> None:
        transaction, self.transaction = self.transaction, None
        if transaction is not None:
            self.daemon.transaction_ended(transaction.epoch)


def reply(context: Any, text: str) -> None:  # noqa: ANN401 - C type
    """Set the SMTP reply: code, enhanced code (RFC 3463) and text."""
    code, extended, message = text.split(" ", 2)
    context.setreply(code, extended, message.replace("%", "%%"))


def _text(octets: bytes) -> str:
    return octets.decode("utf-8", "surrogateescape")


def _as_delivered(context: Any, macro: str, written: str) -> str:  # noqa: ANN401 - C type
    """Return an address as the MTA understood it, by its macro, rather than as the client wrote it.

    Postfix takes comments, stray blanks, quotes around the whole and other spellings in MAIL and
    RCPT, completes a missing domain, and delivers to what it made of them: so must policy.
    """
    understood = _macro(context, macro)
    if understood and understood not in (written, _UNREADABLE) and parse_address(understood) is not None:
        return understood
    return written


def _macro(context: Any, name: str) -> str | None:  # noqa: ANN401 - C type
    try:
        value: str | None = context.getsymval(name)
    except UnicodeDecodeError:
        return _UNREADABLE  # a login that is not UTF-8 is still a login, and nobody's
    return value


def _port(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) <= _PORT_DIGITS else None


def register(daemon: Deciding) -> None:
    """Hand the callbacks to libmilter."""
    habit = Habit()

    def negotiate(context: Any, options: list[int]) -> int:  # noqa: ANN401 - C type
        session = Session(daemon, habit)
        context.setpriv(session)
        daemon.session_began()
        offered_actions, offered_steps = options[0], options[1]
        session.missing_actions = ACTIONS & ~offered_actions
        if session.missing_actions:
            _log.error(
                "the MTA does not offer the milter actions %#x: mail that needs them waits", session.missing_actions
            )
        if offered_actions & milter.SETSYMLIST:
            context.setsymlist(milter.M_CONNECT, _CONNECT_MACROS)
            session.asks_by_macro = bool(offered_steps & milter.P_NOCONNECT)
        wanted = _NOT_ASKED_FOR | _UNANSWERED | milter.P_SKIP
        if session.asks_by_macro:
            wanted ^= milter.P_NOCONNECT | milter.P_NR_CONN
        if habit.reads:
            wanted |= milter.P_NR_HDR
        options[0] = ACTIONS & offered_actions
        options[1] = wanted & offered_steps
        session.may_skip = bool(options[1] & milter.P_SKIP)
        session.unanswered = options[1] & (_UNANSWERED | milter.P_NR_HDR)
        options[2] = options[3] = 0
        return milter.CONTINUE

    milter.set_connect_callback(_unanswered(Session.connect, milter.P_NR_CONN))
    milter.set_envfrom_callback(_unanswered(Session.mail, milter.P_NR_MAIL))
    milter.set_envrcpt_callback(_unanswered(Session.rcpt, milter.P_NR_RCPT))
    milter.set_header_callback(_header)
    milter.set_eoh_callback(_end_of_header)
    milter.set_eom_callback(_answered(Session.eom))
    milter.set_abort_callback(_unanswered(Session.abort))
    milter.set_close_callback(_unanswered(Session.close))
    milter.set_exception_policy(milter.TEMPFAIL)
    milter.register("ldapmilter", data=_answered(Session.data), negotiate=negotiate)


def _header(context: Any, name: str, value: bytes) -> int:  # noqa: ANN401 - C type
    session: Session | None = context.getpriv()
    if session is None or not session.unanswered & milter.P_NR_HDR:
        return _answered_header(context, name, value)
    transaction = session.transaction
    if transaction is None or (transaction.wanted and transaction.failure is None):
        return _unanswered_header(context, name, value)
    return milter.NOREPLY


def _end_of_header(context: Any) -> int:  # noqa: ANN401 - C type
    """Do nothing; see why it is asked for."""
    session: Session | None = context.getpriv()
    return milter.NOREPLY if session is not None and session.unanswered & milter.P_NR_EOH else milter.CONTINUE


def _unanswered(method: Callable[..., int], step: int = 0) -> Callable[..., int]:
    """Wrap a callback whose outcome the MTA does not wait for: a failure waits for the next reply.

    ``step`` is the bit that says so. Where it was negotiated libmilter wants NOREPLY, and complains
    to syslog of anything else, for every single recipient.
    """

    @wraps(method)
    def callback(context: Any, *arguments: Any) -> int:  # noqa: ANN401 - C types
        session: Session | None = context.getpriv()
        if session is not None:
            try:
                method(session, context, *arguments)
            except Exception as error:  # noqa: BLE001 - nothing may reach libmilter from here
                if isinstance(error, LdapmilterError):
                    _log.error("%s", error)
                else:
                    _log.exception("unexpected error in %s", method.__name__)
                    session.daemon.failed()
                if session.transaction is None:
                    epoch = session.daemon.transaction_began()
                    session.transaction = Transaction(sender="", login=None, submitted_locally=False, epoch=epoch)
                session.transaction.failure = error
        return milter.NOREPLY if session is not None and session.unanswered & step else milter.CONTINUE

    return callback


def _answered(method: Callable[..., int]) -> Callable[..., int]:
    """Wrap a callback that answers: whatever goes wrong is 451, a traceback in the log."""

    @wraps(method)
    def callback(context: Any, *arguments: Any) -> int:  # noqa: ANN401 - C types
        session: Session | None = context.getpriv()
        if session is None:
            return milter.TEMPFAIL
        try:
            return method(session, context, *arguments)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client gets 451
            if not isinstance(error, LdapmilterError):
                _log.exception("%s: unexpected error in %s", _macro(context, "i") or "NOQUEUE", method.__name__)
                session.daemon.failed()
            session.abort(context)
            reply(context, TEMPFAIL_REPLY)
            return milter.TEMPFAIL

    return callback


_answered_header = _answered(Session.header)
_unanswered_header = _unanswered(Session.header, milter.P_NR_HDR)
