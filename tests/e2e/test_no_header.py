"""A message without a single header field: libmilter needs the end of the header to be asked for."""

from __future__ import annotations

from ldapmilter.mta.client import MilterClient
from ldapmilter.mta.transaction import Transaction, Verdict
from ldapmilter.socket_address import parse_socket
from tests.support.builders import account, domain, global_config
from tests.support.daemon import Daemon
from tests.support.ports import HANG
from tests.support.postfix import Postfix
from tests.support.record import merge
from tests.support.slapd import Slapd
from tests.support.zimbra_base import base_records

ANN = "ann@example.test"
VAULT = "vault@elsewhere.test"


def test_it_is_answered_and_copied() -> None:
    records = merge(
        [*base_records(), *global_config(), *domain("example.test", ldapMilterArchiveBcc=VAULT), *account(ANN)]
    )
    with Slapd(records) as slapd, Daemon(slapd) as daemon:
        with MilterClient.connect(parse_socket(daemon.socket), timeout=HANG) as client:
            outcome = client.run(Transaction(sender=ANN, recipients=["x@y.test"], login=ANN))
            client.quit()
        assert outcome.verdict is Verdict.ACCEPT
        assert [added.address.strip("<>") for added in outcome.added_recipients] == [VAULT]
        with Postfix(milters=daemon.socket, users={ANN: "secret"}) as postfix:
            connection = postfix.connect()
            connection.login(ANN, "secret")
            reply = connection.message(ANN, ["x@y.test"], b"\r\n.\r\n")
            connection.close()
            assert reply.code == 250
            assert len(postfix.wait_delivered(VAULT)) == 1
