"""A list of thousands in a real slapd, and mail to others going on: nobody waits for it but its own mail."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from ldapmilter.mta.client import MilterClient
from ldapmilter.mta.transaction import Transaction, Verdict
from ldapmilter.socket_address import parse_socket
from tests.support.builders import account, domain, global_config, static_list
from tests.support.daemon import Daemon
from tests.support.ports import HANG, wait_until
from tests.support.proxy import PASS, Proxy, delayed
from tests.support.record import merge
from tests.support.slapd import Slapd
from tests.support.zimbra_base import base_records

if TYPE_CHECKING:
    from ldapmilter.mta.transaction import TransactionOutcome
    from tests.support.record import Record

PEOPLE: Final = 6000
LIST: Final = "everybody@example.test"
TRIES: Final = 60


def person(number: int) -> str:
    return f"u{number}@example.test"


def records() -> list[Record]:
    return merge(
        [
            *base_records(),
            *global_config(zimbraDefaultDomainName="example.test"),
            *domain("example.test"),
            *(
                one
                for number in range(PEOPLE)
                for one in account(
                    person(number), ldapMilterArchiveBcc="last@vault.test" if number == PEOPLE - 1 else None
                )
            ),
            *static_list(LIST, [person(number) for number in range(PEOPLE)]),
        ]
    )


def workers(daemon: Daemon) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(daemon.cli("status", "--json").stdout)["workers"]
    return found


def all_have(daemon: Daemon, entries: int) -> bool:
    return all(worker["cached"] > entries for worker in workers(daemon))


def mail(daemon: Daemon, recipient: str) -> TransactionOutcome:
    message = Transaction(sender="joe@outside.test", recipients=[recipient], headers=[("From", "joe@outside.test")])
    with MilterClient.connect(parse_socket(daemon.socket), HANG) as client:
        return client.run(message)


def test_mail_to_a_large_list_and_to_everybody_else() -> None:
    options = {"milter": {"workers": "1"}, "groups": {"max_members": str(PEOPLE)}}
    with Slapd(records()) as slapd, Daemon(slapd, options) as daemon:
        wait_until(lambda: "the directory answers" in daemon.log(), "the warm-up")
        through = threading.Event()
        others: list[Verdict] = []

        def to_members() -> None:
            number = 0
            while not through.is_set():
                others.append(mail(daemon, person(number % PEOPLE)).verdict)
                number += 97

        thread = threading.Thread(target=to_members, daemon=True)
        thread.start()
        for _ in range(TRIES):
            outcome = mail(daemon, LIST)
            if outcome.verdict is Verdict.ACCEPT:
                break
            wait_until(lambda: f"{LIST} is being read" in daemon.log(), "the line that names the list")
        through.set()
        thread.join(HANG)
        assert outcome.verdict is Verdict.ACCEPT
        assert [added.address for added in outcome.added_recipients] == ["last@vault.test"]
        assert others
        assert set(others) == {Verdict.ACCEPT}


def test_a_list_that_one_worker_puts_mail_off_for_is_read_in_all_of_them() -> None:
    """Mail that is tried again is not put off once more by each worker that it meets."""
    with Slapd(records()) as slapd, Proxy(urlsplit(slapd.uri).port or 0) as proxy:
        options = {
            "milter": {"workers": "3"},
            "groups": {"max_members": str(PEOPLE)},
            "ldap": {"uri": proxy.uri, "lookup_deadline": "8"},  # for each search in the background, too
        }
        with Daemon(slapd, options) as daemon:
            wait_until(lambda: daemon.log().count("the directory answers") == 3, "the warm-up")
            proxy.switch(delayed(0.12), breaking=False)  # thirty parts of the list, one after the other
            assert mail(daemon, LIST).verdict is Verdict.TEMPFAIL
            assert daemon.said(f"{LIST} is being read")
            wait_until(lambda: all_have(daemon, PEOPLE // 20), "all workers to begin", pause=0.5)
            proxy.switch(PASS, breaking=False)
            wait_until(lambda: all_have(daemon, PEOPLE), "all workers to be through", pause=0.5)
            told = daemon.explain("--mail-from", "joe@outside.test", "--rcpt", LIST)  # whoever looks waits for it
            assert [copy["address"] for copy in told["copies"]] == ["last@vault.test"]
            assert (told["verdict"], told["exit_status"], told["stderr"]) == ("accept", 0, "")
            # Whoever of them takes a connection; the last may still be putting together what it has read.
            wait_until(lambda: {mail(daemon, LIST).verdict for _ in range(24)} == {Verdict.ACCEPT}, "every try to pass")
            assert [added.address for added in mail(daemon, LIST).added_recipients] == ["last@vault.test"]
