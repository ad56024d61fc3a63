"""A whole mail system for one module of tests: directory, daemons, and one Postfix before them.

Every daemon has an smtpd of its own.  A message carries a token, and what was delivered is
found by it, in whichever mailbox: so a test sees copies that it did not expect, too.
"""

from __future__ import annotations

import contextlib
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ldapmilter.mta.client import MilterClient
from ldapmilter.mta.transaction import Transaction, Verdict
from ldapmilter.socket_address import parse_socket
from tests.e2e.company import ALIASES, LOGINS, PASSWORD, company
from tests.support.daemon import Daemon
from tests.support.ports import HANG, free_port, listens, wait_until
from tests.support.postfix import Postfix
from tests.support.slapd import Slapd
from tests.support.smtp_client import RawSmtp, Sent, send

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from typing_extensions import Self

    from tests.support.record import Record

_DELIVERY_HEADERS = (b"Return-Path:", b"X-Original-To:", b"Delivered-To:")


@dataclass(frozen=True)
class Mailed:
    """One message that was handed in."""

    token: str
    sent: Sent


@dataclass(frozen=True)
class Delivered:
    """One message in a mailbox."""

    return_path: str
    head: bytes
    """The header without what delivery itself wrote, lines ending in LF."""
    body: bytes

    @property
    def fields(self) -> list[tuple[str, bytes]]:
        """Name in lower case and raw value of every header field, folding kept."""
        found: list[tuple[str, bytes]] = []
        for line in self.head.split(b"\n"):
            if line[:1] in (b" ", b"\t") and found:
                found[-1] = (found[-1][0], found[-1][1] + b"\n" + line)
            elif b":" in line:
                name, _, value = line.partition(b":")
                found.append((name.decode("latin-1").strip().lower(), value.removeprefix(b" ")))
        return found

    @property
    def froms(self) -> list[bytes]:
        """The values of all From fields, whatever their case."""
        return [value for name, value in self.fields if name == "from"]


@dataclass
class Scene:
    """The running mail system.

    Attributes:
        daemons: the daemons by name; the first one also sees mail of sendmail(1).
    """

    options: Mapping[str, Mapping[str, Mapping[str, str]]]
    smtpd: Mapping[str, str] = field(default_factory=dict)
    records: Sequence[Record] | None = None
    postfix_main: Mapping[str, str] = field(default_factory=dict)
    logins: Mapping[str, str] = field(default_factory=dict)
    """Passwords of logins that are nobody's in the directory."""
    arguments: Sequence[str] = ()
    """Of every daemon's `run`."""
    under: Sequence[str] = ()
    """What every daemon runs under."""

    def __enter__(self) -> Self:
        """Start everything."""
        with contextlib.ExitStack() as stack:
            self.slapd = stack.enter_context(Slapd(company() if self.records is None else self.records))
            self.daemons = {
                name: stack.enter_context(Daemon(self.slapd, sections, arguments=self.arguments, under=self.under))
                for name, sections in self.options.items()
            }
            self.ports = {name: free_port() for name in self.daemons}
            first = next(iter(self.daemons.values()))
            self.postfix = stack.enter_context(
                Postfix(
                    milters=first.socket,
                    users={**LOGINS, **self.logins},
                    main_cf={
                        "virtual_alias_maps": f"inline:{{ {ALIASES} }}",
                        # What a client leaves out is left out when the milter sees it.
                        "local_header_rewrite_clients": "",
                        **self.postfix_main,
                    },
                    services=[
                        f"127.0.0.1:{self.ports[name]} inet n - n - - smtpd -o smtpd_milters={daemon.socket}"
                        + self.smtpd.get(name, "")
                        for name, daemon in self.daemons.items()
                    ],
                )
            )
            wait_until(lambda: all(listens(port) for port in self.ports.values()), "every smtpd")
            wait_until(lambda: all(map(_decides, self.daemons.values())), "every daemon to know the directory")
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        """Stop everything."""
        self._stack.close()

    @property
    def daemon(self) -> Daemon:
        """The first daemon."""
        return next(iter(self.daemons.values()))

    def mail(
        self,
        sender: str,
        recipients: Sequence[str],
        *,
        login: str | None = None,
        header: str | bytes | None = None,
        through: str | None = None,
    ) -> Mailed:
        """Hand a message in.

        Args:
            sender: MAIL FROM.
            recipients: RCPT TO.
            login: the SASL login; nobody logs in without it.
            header: header lines in place of a From that is the sender.
            through: the daemon that sees it; the first one unless given.
        """
        token, message = self.compose(sender, header)
        port = self.ports[through or next(iter(self.daemons))]
        sent = send(port, sender, recipients, message, login=login, password=PASSWORD if login else None)
        return Mailed(token, sent)

    def submit(
        self,
        author: str,
        recipients: Sequence[str],
        *,
        header: str | bytes | None = None,
        through: str | None = None,
    ) -> Mailed:
        """Hand a message in as a user who logs in, and expect it to be taken."""
        mailed = self.mail(author, recipients, login=author, header=header, through=through)
        assert mailed.sent.accepted, mailed.sent
        return mailed

    @staticmethod
    def compose(sender: str, header: str | bytes | None = None) -> tuple[str, bytes]:
        """Return a token, and a message with it whose lines end in CRLF."""
        token = uuid.uuid4().hex
        lines = f"From: <{sender}>" if header is None else header
        raw = lines if isinstance(lines, bytes) else lines.encode()
        raw = raw.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        head = raw + b"\r\n" if raw else b""
        return token, head + f"Message-ID: <{token}@client.test>\r\nSubject: minutes\r\n\r\nHello.\r\n".encode()

    def session(self, login: str | None = None, *, through: str | None = None) -> RawSmtp:
        """Open an SMTP session, after EHLO and AUTH."""
        smtp = RawSmtp(self.ports[through or next(iter(self.daemons))])
        if login is None:
            assert smtp.command("EHLO client.test").code == 250
        else:
            assert smtp.login(login, PASSWORD).code == 235
        return smtp

    def delivered(self, token: str) -> dict[str, list[Delivered]]:
        """Return, once nothing is under way any more, every message with the token by mailbox.

        Bounces quote the header of what they are about, so they are found too.
        """
        self.postfix.queue_idle()
        found: dict[str, list[Delivered]] = {}
        for mailbox in self.postfix.recipients():
            for raw in self.postfix.messages(mailbox):
                if token.encode() in raw:
                    found.setdefault(mailbox, []).append(_read(raw))
        return found

    def counts(self, token: str) -> dict[str, int]:
        """Return how many messages with the token are in each mailbox."""
        return {mailbox: len(messages) for mailbox, messages in self.delivered(token).items()}


def _decides(daemon: Daemon) -> bool:
    """Whether a daemon knows what every message needs: the first one would wait for it, and may wait in vain."""
    with MilterClient.connect(parse_socket(daemon.socket), HANG) as client:
        outcome = client.run(Transaction(sender="x@outside.test", recipients=["x@elsewhere.test"]))
    return outcome.verdict is Verdict.ACCEPT


def _read(raw: bytes) -> Delivered:
    head, _, body = raw.partition(b"\n\n")
    lines = head.split(b"\n")
    return_path = next(line for line in lines if line.startswith(b"Return-Path:"))
    kept = lines
    while kept and kept[0].startswith(_DELIVERY_HEADERS):
        kept = kept[1:]
    return Delivered(return_path.partition(b":")[2].strip().decode("latin-1").strip("<>"), b"\n".join(kept), body)
