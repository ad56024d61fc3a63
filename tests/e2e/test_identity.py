"""Who is sending: users of sendmail(1), mailbox servers, and what they may set off."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.company import ARCHIVE, CARL_ARCHIVE, CARL_HOLD, HOLD, JOE, LEGAL_FROM
from tests.e2e.scene import Scene
from tests.support.names import account_dn

if TYPE_CHECKING:
    from collections.abc import Iterator

ANN = "ann@example.test"
ANN_FROM = f"<{ANN}>".encode()


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    options = {
        "main": {},
        "mailbox": {"identity": {"mailbox_hosts": "192.0.2.0/24 127.0.0.0/8"}},
        "relay": {"identity": {"own_relays": "192.0.2.0/24 127.0.0.1"}},
        "person": {"identity": {"mailbox_hosts": "127.0.0.1", "trust_x_authenticated_user": "yes"}},
    }
    # A mailbox server may relay; the one without this daemon may too, to compare.
    relay = " -o mynetworks=127.0.0.0/8"
    with Scene(options, smtpd=dict.fromkeys(options, relay)) as running:
        yield running


def test_sendmail_is_nobody_whatever_its_sender(scene: Scene) -> None:
    token, message = scene.compose(ANN)
    scene.postfix.sendmail(ANN, [JOE, "carl@example.test"], message.replace(b"\r\n", b"\n"))
    delivered = scene.delivered(token)
    assert set(delivered) == {JOE, "carl@example.test", CARL_ARCHIVE, CARL_HOLD}
    assert all(message.froms == [ANN_FROM] for (message,) in delivered.values())
    (line,) = scene.daemon.said(f"mail_from=<{ANN}>")
    assert "identity=none" in line


def test_sendmail_with_mailbox_hosts_that_hold_the_loopback_address(scene: Scene) -> None:
    """Postfix says 127.0.0.1 of sendmail's mail: that makes it no mailbox server's."""
    scene.postfix.reconfigure(non_smtpd_milters=scene.daemons["mailbox"].socket)
    token, message = scene.compose(ANN)
    scene.postfix.sendmail(ANN, [JOE], message.replace(b"\r\n", b"\n"))
    assert {box: [m.froms for m in found] for box, found in scene.delivered(token).items()} == {JOE: [[ANN_FROM]]}


def test_the_envelope_sender_of_a_mailbox_server_is_the_identity(scene: Scene) -> None:
    mailed = scene.mail(ANN, [JOE], through="mailbox")
    assert mailed.sent.accepted
    delivered = scene.delivered(mailed.token)
    assert set(delivered) == {JOE, ARCHIVE, HOLD}
    assert all(message.froms == [LEGAL_FROM.encode()] for (message,) in delivered.values())
    told = scene.daemons["mailbox"].explain("--client", "127.0.0.1", "--mail-from", ANN, "--rcpt", JOE)
    assert told["identity"] == {"address": ANN, "source": "mailbox-host", "dn": account_dn(ANN)}
    assert told["from"]["value"] == LEGAL_FROM


def test_the_same_from_any_other_client_is_nobodys(scene: Scene) -> None:
    mailed = scene.mail(ANN, [JOE], through="main")
    delivered = scene.delivered(mailed.token)
    assert {box: [m.froms for m in found] for box, found in delivered.items()} == {JOE: [[ANN_FROM]]}


def test_a_mailbox_servers_null_sender_is_nobody(scene: Scene) -> None:
    mailed = scene.mail("", [JOE], header=f"From: {ANN}", through="mailbox")
    assert set(scene.delivered(mailed.token)) == {JOE}


@pytest.mark.parametrize(
    ("field", "changed"),
    [
        ("Auto-Submitted: auto-replied", False),
        ("auto-submitted: auto-generated; owner=x", False),
        ("Auto-Submitted: (a comment)\n auto-replied", False),
        ("X-Zimbra-Forwarded: ann@example.test", False),
        ("Auto-Submitted: no", True),
        ("Auto-Submitted: NO (really)", True),
        ("X-Auto-Submitted: auto-replied", True),
    ],
)
def test_automatic_mail_of_a_mailbox_server_keeps_its_from_but_is_copied(
    scene: Scene,
    field: str,
    changed: bool,  # noqa: FBT001 - a table
) -> None:
    mailed = scene.mail(ANN, [JOE], header=f"From: <{ANN}>\n{field}", through="mailbox")
    delivered = scene.delivered(mailed.token)
    assert set(delivered) == {JOE, ARCHIVE, HOLD}
    expected = LEGAL_FROM.encode() if changed else ANN_FROM
    assert all(message.froms == [expected] for (message,) in delivered.values())


@pytest.mark.parametrize("through", ["main", "mailbox"])
def test_a_user_cannot_exempt_herself(scene: Scene, through: str) -> None:
    header = f"From: <{ANN}>\nAuto-Submitted: auto-replied\nX-Zimbra-Forwarded: {ANN}"
    mailed = scene.submit(ANN, [JOE], header=header, through=through)
    delivered = scene.delivered(mailed.token)
    assert set(delivered) == {JOE, ARCHIVE, HOLD}
    assert delivered[JOE][0].froms == [LEGAL_FROM.encode()]


def test_a_login_from_a_mailbox_server_beats_the_envelope_sender(scene: Scene) -> None:
    mailed = scene.mail("jane@example.test", [JOE], login=ANN, through="mailbox")
    delivered = scene.delivered(mailed.token)
    assert set(delivered) == {JOE, ARCHIVE, HOLD}


def test_mail_of_our_own_relay_was_decided_before(scene: Scene) -> None:
    mailed = scene.submit(ANN, [JOE, "carl@example.test"], through="relay")
    delivered = scene.delivered(mailed.token)
    assert set(delivered) == {JOE, "carl@example.test"}
    assert all(message.froms == [ANN_FROM] for (message,) in delivered.values())


def test_mail_on_a_reinjection_port_was_decided_before(scene: Scene) -> None:
    daemon = scene.daemons["relay"]
    daemon.stop()
    daemon.configure({"identity": {"own_relays": "", "reinjection_ports": f"10025 {scene.ports['relay']}"}})
    daemon.start()
    mailed = scene.submit(ANN, [JOE, "carl@example.test"], through="relay")
    assert set(scene.delivered(mailed.token)) == {JOE, "carl@example.test"}
    daemon.stop()
    daemon.configure({"identity": {"reinjection_ports": "10025"}})
    daemon.start()
    mailed = scene.submit(ANN, [JOE], through="relay")
    assert set(scene.delivered(mailed.token)) == {JOE, ARCHIVE, HOLD}


X_USER = f"From: <jane@example.test>\nX-Authenticated-User: nobody@example.test\nX-Authenticated-User: {ANN}"


def test_the_last_authenticated_user_counts_while_zimbra_writes_it(scene: Scene) -> None:
    """Copies of the mailbox and of the person, From rules of the mailbox."""

    def mailboxes(through: str) -> set[str]:
        mailed = scene.mail("jane@example.test", [JOE], header=X_USER, through=through)
        assert mailed.sent.accepted
        delivered = scene.delivered(mailed.token)
        assert delivered[JOE][0].froms == [b"<jane@example.test>"]
        return set(delivered)

    assert mailboxes("mailbox") == {JOE}  # not trusted
    assert mailboxes("person") == {JOE}  # Zimbra does not write it
    scene.slapd.modify(
        "dn: cn=config,cn=zimbra\nchangetype: modify\n"
        "replace: zimbraSmtpSendAddAuthenticatedUser\nzimbraSmtpSendAddAuthenticatedUser: TRUE\n"
    )
    daemon = scene.daemons["person"]
    daemon.stop()
    daemon.start()  # instead of waiting for the cache's time to live
    assert mailboxes("person") == {JOE, ARCHIVE, HOLD}
    login = scene.submit("jane@example.test", [JOE], header=X_USER, through="person")
    assert set(scene.delivered(login.token)) == {JOE}  # a user wrote this header
