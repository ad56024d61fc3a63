"""Whether the copy relay answers, and the servers that it hands copies to; no message is handed over."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import TYPE_CHECKING

from ldapmilter.checks.finding import Area, Kind, Severity
from ldapmilter.delivery.next_hop import NextHop
from ldapmilter.postfix.postconf import PostconfFailed, find_postconf, run_postconf
from ldapmilter.relay.terms import Terms, host_name

if TYPE_CHECKING:
    import smtplib
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ldapmilter.checks.finding import Report
    from ldapmilter.config import Config
    from ldapmilter.relay.answers import ServerAnswer
    from ldapmilter.socket_address import SocketAddress

_AREA = Area.POSTFIX

SILENT = Kind(
    code="relay-silent",
    severity=Severity.PROBLEM,
    area=_AREA,
    meaning="The copy relay does not answer where Postfix hands copies over: they wait in Postfix's queue.",
    remedy="look at ldapmilter status, and in the log why the relay does not run",
)
UNREACHABLE = Kind(
    code="relay-next-hop-unreachable",
    severity=Severity.PROBLEM,
    area=_AREA,
    meaning="A server that takes copies does not answer: copies go to the next one that is named, or wait.",
    remedy="see that the server runs and lets this host in, or correct [relay] next_hop and next_hop_for",
)
NO_TLS = Kind(
    code="relay-next-hop-tls",
    severity=Severity.PROBLEM,
    area=_AREA,
    meaning="A server that takes copies cannot be talked to as `[relay] starttls` = must wants it: it gets no copy.",
    remedy="have the server offer STARTTLS, with a certificate of its name in next_hop; name its authority in [relay]"
    " ca_file; or set starttls = may",
)
TOO_SMALL = Kind(
    code="relay-next-hop-size",
    severity=Severity.WARNING,
    area=_AREA,
    meaning="A server that takes copies takes no message as large as Postfix does: copies of larger ones are refused,"
    " and kept.",
    remedy="raise the limit of the server to $limit octets and some more for a journal report",
)

SENDER_REFUSED = Kind(
    code="relay-next-hop-sender",
    severity=Severity.PROBLEM,
    area=_AREA,
    meaning="A server that takes copies refuses the sender that they come with: they wait, and are kept in the end.",
    remedy="let this host in at the server, with the sender that the text names, or set [relay] envelope_sender",
)

KINDS = (SILENT, UNREACHABLE, NO_TLS, TOO_SMALL, SENDER_REFUSED)

_SECONDS = 5.0
_TARGETS_SECONDS = 60.0
_LIMIT = "message_size_limit"


def check(config: Config, report: Report, *, directory: Path | None) -> None:
    """Ask the relay and its next hops, where there is a relay.

    Args:
        config: the ``[relay]`` section.
        report: what to add to.
        directory: that holds main.cf; the one that ``[relay]`` names, or Postfix's own, unless given.
    """
    relay = config.relay
    if relay.listen is None:
        return
    try:
        with _greeted(_as_hop(relay.listen)):
            report.fine(_AREA, f"the copy relay answers at {relay.listen}")
    except OSError as error:
        report.add(SILENT.found(f"{relay.listen}: {_why(error)}"))
    limit = _size_limit(directory or relay.postfix_dir)
    for hop in relay.every_hop:
        _look_at(hop, config, limit, report)


def _look_at(hop: NextHop, config: Config, limit: int | None, report: Report) -> None:
    try:
        with _greeted(hop) as server:
            offered = dict(server.esmtp_features)
    except OSError as error:
        report.add(UNREACHABLE.found(f"{hop}: {_why(error)}"))
        return
    (answer,) = try_out(hop, config, ())
    if answer.step == "tls":
        report.add(NO_TLS.found(f"{hop}: {answer.text}"))
    elif answer.step == "mail" and answer.becomes != "goes on":
        told = f"MAIL FROM:<{config.relay.envelope_sender}> has the answer {answer.code or ''} {answer.text}"
        report.add(SENDER_REFUSED.found(f"{hop}: {told}"))
    size = offered.get("size", "")
    if limit and size.isdecimal() and 0 < int(size) < limit:  # none, and 0, are no limit (RFC 1870)
        report.add(TOO_SMALL.found(f"{hop}: SIZE {size}; {_LIMIT} = {limit}", limit=limit))
    report.fine(_AREA, f"{hop} answers, which takes copies")


def try_out(hop: NextHop, config: Config, targets: Sequence[str]) -> list[ServerAnswer]:
    """Ask a server as the relay does whether it would take copies (:meth:`CopyClient.try_out`); takes a minute at most.

    Args:
        hop: the server.
        config: the relay's settings.
        targets: whom they would be for; none: only whether the sender may be.
    """
    import asyncio  # noqa: PLC0415 - where there is a relay only: it takes long to load

    from ldapmilter.relay.client import CopyClient  # noqa: PLC0415 - it loads asyncio

    relay = config.relay
    client = CopyClient(Terms(host_name=host_name(), starttls=relay.starttls, ca_file=relay.ca_file))
    seconds = _TARGETS_SECONDS if targets else _SECONDS
    return asyncio.run(client.try_out(hop, relay.envelope_sender, targets, time.monotonic() + seconds))


@contextlib.contextmanager
def _greeted(hop: NextHop) -> Iterator[smtplib.SMTP]:
    """Connect to a server, and let it say what it offers.

    Raises:
        OSError: it cannot be connected to, does not answer in time, or turns us away (``SMTPException``).
    """
    import smtplib  # noqa: PLC0415 - where there is a relay only: it loads the package email

    kind = smtplib.SMTP if hop.kind == "smtp" else smtplib.LMTP
    server = kind(local_hostname=socket.gethostname(), timeout=_SECONDS)
    try:
        code, text = server.connect(hop.path or hop.host, hop.port)
        if code != 220:  # noqa: PLR2004 - ready (RFC 5321 section 4.2)
            raise smtplib.SMTPConnectError(code, text)
        code, text = server.ehlo()
        if code != 250:  # noqa: PLR2004 - fine
            raise smtplib.SMTPHeloError(code, text)
        yield server
        with contextlib.suppress(OSError):
            server.quit()
    finally:
        server.close()


def _as_hop(listen: SocketAddress) -> NextHop:
    return NextHop(kind="lmtp", host=listen.peer_host, port=listen.port, path=listen.path)


def _why(error: Exception) -> str:
    import smtplib  # noqa: PLC0415 - see above

    if isinstance(error, smtplib.SMTPResponseException):
        text = error.smtp_error
        return f"{error.smtp_code} {text.decode('utf-8', 'replace') if isinstance(text, bytes) else text}"
    if isinstance(error, smtplib.SMTPException) or not isinstance(error, OSError):
        return str(error) or type(error).__name__
    return error.strerror or str(error) or type(error).__name__


def _size_limit(directory: Path | None) -> int | None:
    """Return the size of the largest message that Postfix takes, in octets; ``None``: it does not say."""
    postconf = find_postconf()
    place = ("-c", str(directory)) if directory is not None else ()
    with contextlib.suppress(PostconfFailed, ValueError, IndexError):
        if postconf is not None:
            return int(run_postconf(postconf, *place, "-xh", _LIMIT)[0])
    return None
