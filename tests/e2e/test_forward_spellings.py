"""Whoever a real Postfix delivers to through a list, a forward or a route has their copies, however it is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from tests.e2e.scene import Scene
from tests.support.builders import account, domain, global_config, static_list
from tests.support.daemon import Daemon
from tests.support.postfix import Postfix
from tests.support.record import merge
from tests.support.slapd import Slapd
from tests.support.zimbra_base import base_records
from tests.support.zimbra_maps import zimbra_maps

if TYPE_CHECKING:
    from collections.abc import Iterator

HOLD: Final = "ldapMilterLegalReceivedBcc"
CARL: Final = "carl@north.test"
CARLS_COPY: Final = "carl@keep.test"

VALUES: Final = (
    "bob@north.test carl@north.test",
    "<bob@north.test> <carl@north.test>",
    "Carl C <carl@north.test>",
    "carl@north.test (c)",
    "bob@north.test;carl@north.test",
    "x:carl@north.test;",
    "ca\\rl@north.test",
    "Carl carl@north.test",
    "carl%north.test@localhost",
    "north.test!carl@localhost",
    "carl@north.test@localhost",
    "carl%north.test@[127.0.0.1]",
    '"carl@north.test"@localhost',
    "carl%north.test%@localhost",
)
ROUTES: Final = tuple(value for value in VALUES if value.endswith(("@localhost", "@[127.0.0.1]")))


class Post:
    """A daemon, and a Postfix that asks the directory by Zimbra's maps."""

    def __init__(self, daemon: Daemon, postfix: Postfix) -> None:
        self.daemon, self.postfix = daemon, postfix

    def mailboxes(self, token: str) -> list[str]:
        """Return the mailboxes that a message came to, once for each time."""
        self.postfix.queue_idle(60)
        return [
            mailbox
            for mailbox in self.postfix.recipients()
            for raw in self.postfix.messages(mailbox)
            if token.encode() in raw
        ]

    def by_smtp(self, recipient: str) -> list[str]:
        token, message = Scene.compose("somebody@far.test")
        assert self.postfix.send("somebody@far.test", [recipient], message).code == 250
        return self.mailboxes(token)


@pytest.fixture(scope="module")
def post() -> Iterator[Post]:
    records = merge(
        [
            *base_records(),
            *global_config(zimbraDefaultDomainName="north.test"),
            *domain("north.test"),
            *account(CARL, **{HOLD: CARLS_COPY}),
            *account("bob@north.test"),
            *account("brand@north.test", zimbraMailCanonicalAddress=CARL),
            *domain(
                "masq.test",
                zimbraMailCatchAllAddress="@masq.test",
                zimbraMailCatchAllCanonicalAddress="@north.test",
            ),
            *(
                record
                for number, value in enumerate(VALUES)
                for record in (
                    *account(f"f{number}@north.test", zimbraPrefMailForwardingAddress=value),
                    *static_list(f"l{number}@north.test", [value]),
                )
            ),
        ]
    )
    with Slapd(records) as slapd, Daemon(slapd) as daemon:
        maps = zimbra_maps(slapd, slapd.directory, canonical=True)
        parameters = {**maps, "mydestination": "localhost", "relay_domains": "keep.test"}
        with Postfix(milters=daemon.socket, main_cf=parameters) as postfix:
            yield Post(daemon, postfix)


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("kind", ["f", "l"])
def test_a_forward_and_a_member_are_read_as_postfix_reads_them(post: Post, kind: str, value: str) -> None:
    found = post.by_smtp(f"{kind}{VALUES.index(value)}@north.test")
    assert (found.count(CARL), found.count(CARLS_COPY)) == (1, 1)


@pytest.mark.parametrize("recipient", ROUTES)
def test_a_route_in_mail_from_sendmail_is_undone(post: Post, recipient: str) -> None:
    token, message = Scene.compose("root@north.test")
    post.postfix.sendmail("root@north.test", [recipient], message.replace(b"\r\n", b"\n"))
    found = post.mailboxes(token)
    assert (found.count(CARL), found.count(CARLS_COPY)) == (1, 1)


@pytest.mark.parametrize("recipient", ["carl@masq.test", "brand@north.test"])
def test_a_canonical_address_is_the_persons(post: Post, recipient: str) -> None:
    found = post.by_smtp(recipient)
    assert (found.count(CARL), found.count(CARLS_COPY)) == (1, 1)
