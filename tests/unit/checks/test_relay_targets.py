"""Whether the archives know the addresses that relayed copies go to: servers are asked, and get nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.archive_server import ArchiveServer
from tests.support.builders import account
from tests.support.ports import free_port
from tests.unit.checks.scene import look_at, site

if TYPE_CHECKING:
    from pathlib import Path

    from ldapmilter.checks.finding import Report


def looked_at(directory: Path, hops: str, *targets: str, delivery: str = "tracked") -> Report:
    records = site(account("ann@example.test", ldapMilterArchiveSentBcc=list(targets)))
    relay = {"listen": f"inet:127.0.0.1:{free_port()}", "next_hop": hops}
    return look_at(directory, records, {"copy archive": {"delivery": delivery}, "relay": relay})


def of_targets(report: Report) -> list[tuple[str, str]]:
    return [(one.code, one.text) for one in report.findings if one.code.startswith("relay-target")]


def test_each_address_is_asked_about_and_nothing_is_handed_over(tmp_path: Path) -> None:
    answers = {"gone": "550 5.1.1 no such mailbox", "later": "450 4.2.0 come again"}
    with ArchiveServer() as server:
        server.choose = lambda moment, who: answers.get(who.partition("@")[0]) if moment == "rcpt" else None
        report = looked_at(tmp_path, server.next_hop, *(f"{name}@archive.test" for name in ("vault", *answers)))
        assert of_targets(report) == [
            ("relay-target-refused", f"gone@archive.test: {server.next_hop} says 550 5.1.1 no such mailbox"),
            ("relay-target-deferred", f"later@archive.test: {server.next_hop} says 450 4.2.0 come again"),
        ]
        assert all(one.confidential for one in report.findings if one.code.startswith("relay-target"))
        assert not any(command.startswith("DATA") for command in server.commands)
        assert server.filed == []


def test_the_next_server_is_asked_where_the_first_one_does_not_answer(tmp_path: Path) -> None:
    with ArchiveServer() as server:
        server.answers["rcpt"] = "551 5.7.1 no"
        report = looked_at(tmp_path, f"smtp:[127.0.0.1]:{free_port()} {server.next_hop}", "vault@archive.test")
        assert [code for code, _ in of_targets(report)] == ["relay-target-refused"]


def test_copies_that_go_directly_are_nothing_to_the_relays_servers(tmp_path: Path) -> None:
    with ArchiveServer() as server:
        assert of_targets(looked_at(tmp_path, server.next_hop, "vault@archive.test", delivery="direct")) == []
        assert server.commands == []


def test_a_server_is_asked_about_so_many_and_the_rest_is_told(tmp_path: Path) -> None:
    with ArchiveServer() as server:
        report = looked_at(tmp_path, server.next_hop, *(f"v{number}@archive.test" for number in range(103)))
        assert sum(command.startswith("RCPT") for command in server.commands) == 100
        asked = f"{server.next_hop} was asked about 100 addresses that get copies, not about 3"
        assert asked in [text for _, text in report.looked_at]
