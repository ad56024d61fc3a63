"""Whoever a real Postfix delivers to by Zimbra's own maps has their copies, however the address is written."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import pytest

from tests.e2e.scene import Scene
from tests.support.builders import account, alias_domain, domain, global_config, static_list
from tests.support.daemon import Daemon
from tests.support.postfix import Postfix
from tests.support.record import merge
from tests.support.slapd import Slapd
from tests.support.zimbra_base import base_records
from tests.support.zimbra_maps import zimbra_maps

if TYPE_CHECKING:
    from collections.abc import Iterator

HOLD: Final = "ldapMilterLegalReceivedBcc"
RECIPIENTS: Final[dict[bytes, tuple[str, ...]]] = {
    # An extension that no directory holds: other letters, raw octets, control characters, too long.
    "olga+é@example.test".encode(): ("olga",),
    b"OLGA+\xff@Example.Test.": ("olga",),
    b"olga+" + b"x" * 300 + b"@example.test": ("olga",),
    b"olga+" + b"y" * 1200 + b"@example.test": ("olga",),
    b'"dirk+\t"@example.test': ("dirk",),
    "olga+é@alias.test".encode(): ("olga",),
    "crew+é@example.test".encode(): ("crew", "dirk"),
    b"crew+\xff@example.test": ("crew", "dirk"),
    # The domain is Postfix's to see.
    b"@relay.test:olga+\xff@example.test": ("olga",),
    b"olga+\xff@example.test (a comment)": ("olga",),
    b'"olga+\xff@example.test"': ("olga",),
    b"olga+\xff%example.test": ("olga",),
    b"example.test!olga+\xff": ("olga",),
    # Blanks that mean nothing to slapd, and quotes.
    b'" olga"@example.test': ("olga",),
    b'" olga"@alias.test': ("olga",),
    b'" olga+x"@example.test': ("olga",),
    b'"olga b"@example.test': ("blank",),
    b'"Olga   B+\xff"@example.test': ("blank",),
    b'"quoted one"@example.test': ("blank",),
    # What the catch-all takes.
    "é@catch.test".encode(): ("catcher",),
    b"\xff@catch.test": ("catcher",),
    b'" "@catch.test': ("catcher",),
}


class Post:
    """Directory, daemon, and a Postfix that asks the directory."""

    def __init__(self, slapd: Slapd, daemon: Daemon, postfix: Postfix) -> None:
        self.slapd, self.daemon, self.postfix = slapd, daemon, postfix

    def mailboxes(self, recipient: bytes) -> set[str]:
        """Send a message, and return the mailboxes that hold it."""
        token, message = Scene.compose("somebody@far.test")
        with self.postfix.connect() as smtp:
            for line, code in (
                (b"EHLO client.test", 250),
                (b"MAIL FROM:<somebody@far.test>", 250),
                (b"RCPT TO:<" + recipient + b">", 250),
                (b"DATA", 354),
                (message + b".", 250),
            ):
                smtp.write(line + b"\r\n")
                assert smtp.reply().code == code, line
        self.postfix.queue_idle(60)
        return {
            mailbox
            for mailbox in self.postfix.recipients()
            if any(token.encode() in raw for raw in self.postfix.messages(mailbox))
        }


@pytest.fixture(scope="module")
def post() -> Iterator[Post]:
    records = merge(
        [
            *base_records(),
            *global_config(zimbraDefaultDomainName="example.test", zimbraMtaRecipientDelimiter="+"),
            *domain("example.test"),
            *alias_domain("alias.test", "example.test"),
            *domain("catch.test"),
            *account("olga@example.test", **{HOLD: "olga@keep.test"}),
            *account("dirk@example.test", **{HOLD: "dirk@keep.test"}),
            *account(
                "blank@example.test",
                zimbraMailAlias=["olga b@example.test", '"quoted one"@example.test'],
                **{HOLD: "blank@keep.test"},
            ),
            *account("catcher@catch.test", zimbraMailCatchAllAddress="@catch.test", **{HOLD: "catcher@keep.test"}),
            *static_list("crew@example.test", ["dirk@example.test"], **{HOLD: "crew@keep.test"}),
        ]
    )
    with Slapd(records) as slapd, Daemon(slapd) as daemon:
        settings = {"recipient_delimiter": "+", "propagate_unmatched_extensions": ""}  # LMTP strips it in Zimbra
        parameters = {**zimbra_maps(slapd, slapd.directory), **settings}
        with Postfix(milters=daemon.socket, main_cf=parameters) as postfix:
            yield Post(slapd, daemon, postfix)


@pytest.mark.parametrize(
    "recipient",
    RECIPIENTS,
    ids=[os.fsdecode(one[:40]).encode("ascii", "backslashreplace").decode() for one in RECIPIENTS],
)
def test_delivery_and_copies_agree(post: Post, recipient: bytes) -> None:
    held = {f"{name}@keep.test" for name in RECIPIENTS[recipient]}
    found = post.mailboxes(recipient)
    assert {mailbox for mailbox in found if mailbox.endswith("@keep.test")} == held
    assert len(found - held) == 1  # it was delivered
