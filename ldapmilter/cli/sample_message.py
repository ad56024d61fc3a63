"""The message that ``explain`` and ``probe`` are asked about: one set of options, read one way."""

from __future__ import annotations

import argparse
import ipaddress
from pathlib import Path

from msgspec import Struct

from ldapmilter.address import strip_brackets
from ldapmilter.cli import arguments
from ldapmilter.errors import ConfigError
from ldapmilter.message import Envelope, Headers
from ldapmilter.mta.headers import read_message


class SampleMessage(Struct, frozen=True, kw_only=True):
    """An envelope and a header."""

    envelope: Envelope
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes = b""

    @property
    def headers(self) -> Headers:
        """The header as policy takes it."""
        return Headers(
            fields=tuple(
                (name.decode("ascii", "replace").lower(), value.decode("utf-8", "surrogateescape"))
                for name, value in self.fields
            )
        )


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that describe a message."""
    parser.add_argument("--auth", metavar="LOGIN", help="the SASL login, as the client types it")
    parser.add_argument("--client", metavar="IP", type=_ip, help="the SMTP client's address (default: an outsider)")
    parser.add_argument(
        "--daemon-port", metavar="PORT", type=arguments.port, help="the MTA's port that the client came to"
    )
    parser.add_argument("--mail-from", metavar="ADDR", help="the envelope sender; <> for the null sender")
    parser.add_argument("--rcpt", metavar="ADDR", nargs="+", action="extend", required=True, help="envelope recipients")
    header = parser.add_mutually_exclusive_group()
    header.add_argument(
        "--from",
        dest="from_value",
        metavar="VALUE",
        help="the From header's value (default: the login, or the envelope sender)",
    )
    header.add_argument(
        "--message", metavar="FILE", type=Path, help="a message (RFC 5322), of which the header is used"
    )


def _ip(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        msg = f"{text!r} is not an IP address"
        raise argparse.ArgumentTypeError(msg) from None


def read(options: argparse.Namespace) -> SampleMessage:
    """Return the message that the options describe.

    Raises:
        ConfigError: the message file cannot be read, or what is to be an address or a login is none.
    """
    _check(options)
    fields: tuple[tuple[bytes, bytes], ...] | None = None
    body = b""
    if options.message is not None:
        try:
            read_fields, body = read_message(options.message.read_bytes())
        except OSError as error:
            message = f"--message {options.message}: cannot be read: {error.strerror}"
            raise ConfigError(message) from error
        fields = tuple(read_fields)
    elif options.from_value is not None:
        fields = ((b"From", options.from_value.encode("utf-8", "surrogateescape")),)
    sender = options.mail_from
    if sender is None:
        sender = options.auth if options.auth and "@" in options.auth else ""
    author = options.auth if options.auth and "@" in options.auth else sender
    if fields is None and author:  # what a mail program would write
        fields = ((b"From", strip_brackets(author).encode("utf-8", "surrogateescape")),)
    envelope = Envelope(
        login=options.auth,
        client=options.client,
        daemon_port=options.daemon_port,
        sender=strip_brackets(sender),
        recipients=tuple(map(strip_brackets, options.rcpt)),
    )
    return SampleMessage(envelope=envelope, fields=fields or (), body=body)


def _check(options: argparse.Namespace) -> None:
    """Refuse what could not be said in an SMTP session, or would be answered as another question.

    Raises:
        ConfigError: as it says. (Not an error of usage: for a monitoring system that would be CRITICAL.)
    """
    login, sender = options.auth, options.mail_from
    for option, text in (("--auth", login), ("--mail-from", sender), ("--from", options.from_value)):
        if text is not None and any(character in text for character in "\r\n\0"):
            raise ConfigError(f"{option} {text!r}: holds a control character")
    if login is not None and (not login or any(character in login for character in " \t,;<>")):
        raise ConfigError(f"--auth {login!r}: is not one login")
    given = [("--rcpt", recipient) for recipient in options.rcpt]
    if sender and strip_brackets(sender):
        given.append(("--mail-from", sender))
    for option, text in given:
        if (problem := arguments.address_problem(text)) is not None:
            raise ConfigError(f"{option} {text!r}: {problem}")
