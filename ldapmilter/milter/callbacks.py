"""The callbacks of a session, as libmilter calls them.

Nothing here can hang the client: callbacks without a reply cannot raise (the failure is kept until
the next one that replies), those with a reply turn whatever goes wrong into 451.
"""

from __future__ import annotations

import logging
from functools import wraps
from typing import TYPE_CHECKING, Any

import milter

from ldapmilter.errors import LdapmilterError
from ldapmilter.milter.header_mode import HeaderMode
from ldapmilter.milter.macros import macro
from ldapmilter.milter.negotiation import negotiate
from ldapmilter.milter.session import Session, reply
from ldapmilter.policy.model import TEMPFAIL_REPLY

if TYPE_CHECKING:
    from collections.abc import Callable

    from ldapmilter.milter.interface import Deciding

_log = logging.getLogger(__name__)


def register(daemon: Deciding) -> None:
    """Hand the callbacks to libmilter."""
    header_mode = HeaderMode()

    def begin(context: Any, options: list[int]) -> int:  # noqa: ANN401 - C type
        agreed = negotiate(context, options, header_mode, changes_sender=daemon.changes_sender)
        session = Session(daemon, agreed, header_mode)
        context.setpriv(session)
        daemon.in_flight.session_began()
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
    milter.register("ldapmilter", data=_answered(Session.data), negotiate=begin)


def _header(context: Any, name: str, value: bytes) -> int:  # noqa: ANN401 - C type
    session: Session | None = context.getpriv()
    if session is None or not session.negotiated.unanswered & milter.P_NR_HDR:
        return _answered_header(context, name, value)
    message = session.message
    if message is None or (message.failure is None and name.strip().lower() in message.fields.wanted):
        return _unanswered_header(context, name, value)
    return milter.NOREPLY  # most fields of any message


def _end_of_header(context: Any) -> int:  # noqa: ANN401 - C type
    """Do nothing; negotiation.py says why it is asked for."""
    session: Session | None = context.getpriv()
    return _no_reply(session, milter.P_NR_EOH)


def _no_reply(session: Session | None, step: int) -> int:
    """Return what libmilter wants from a callback that has nothing to say."""
    return milter.NOREPLY if session is not None and session.negotiated.unanswered & step else milter.CONTINUE


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
                session.keep_failure(error)
        return _no_reply(session, step)

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
                _log.exception("%s: unexpected error in %s", macro(context, "i") or "NOQUEUE", method.__name__)
                session.daemon.failed()
            _give_up(session, context, error)
            reply(context, TEMPFAIL_REPLY)
            return milter.TEMPFAIL

    return callback


def _give_up(session: Session, context: Any, error: BaseException) -> None:  # noqa: ANN401 - C type
    """Let a session drop its message; whatever goes wrong with that, the client gets 451."""
    try:
        session.give_up(context, error)
    except Exception:  # noqa: BLE001 - see above
        _log.exception("unexpected error after another one")
        session.abort(context)


_answered_header = _answered(Session.header)
_unanswered_header = _unanswered(Session.header, milter.P_NR_HDR)
