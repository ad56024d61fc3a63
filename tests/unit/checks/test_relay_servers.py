"""What is said of the relay and its next hops: servers of the tests answer, or do not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ldapmilter.checks import relay_servers
from ldapmilter.checks.finding import Report
from tests.support.archive_server import ArchiveServer
from tests.support.certificates import make_certificates
from tests.support.ports import free_port, wait_until
from tests.unit.checks.scene import config_of

if TYPE_CHECKING:
    from pathlib import Path


def found(directory: Path, **relay: str) -> list[tuple[str, str]]:
    (directory / "postfix").mkdir()
    (directory / "postfix" / "main.cf").write_text("compatibility_level = 3.6\nmessage_size_limit = 1000000\n")
    (directory / "postfix" / "master.cf").write_text("smtp inet n - n - - smtpd\n")
    report = Report()
    relay_servers.check(config_of(directory, {"relay": relay}), report, directory=directory / "postfix")
    return [(finding.code, finding.text) for finding in report.findings]


def test_what_is_in_order(tmp_path: Path) -> None:
    with (
        ArchiveServer("lmtp", path=tmp_path / "relay.sock") as relay,
        ArchiveServer(extensions=["SIZE 1000000"]) as one,
        ArchiveServer("lmtp", extensions=["SIZE 0"]) as other,
    ):
        hops = f"{one.next_hop} {other.next_hop}"
        assert found(tmp_path, listen=f"unix:{relay.path}", next_hop=hops) == []
        assert relay.commands[0].upper().startswith("LHLO ")
        assert one.commands[0].upper().startswith("EHLO ")
        # Nobody waits for the answer to QUIT.
        wait_until(lambda: all(server.commands[-1] == "QUIT" for server in (one, other)), "the end of both sessions")
        asked = {command.partition(" ")[0].upper() for command in (*one.commands, *other.commands)}
        assert asked == {"EHLO", "LHLO", "MAIL", "RSET", "QUIT"}
        assert "MAIL FROM:<>" in one.commands


def test_without_a_relay_nobody_is_asked(tmp_path: Path) -> None:
    with ArchiveServer() as server:
        assert found(tmp_path, next_hop=server.next_hop) == []
        assert server.commands == []


def test_nobody_answers(tmp_path: Path) -> None:
    listen, hop = f"inet:127.0.0.1:{free_port()}", f"smtp:[127.0.0.1]:{free_port()}"
    silent, unreachable = found(tmp_path, listen=listen, next_hop_for=f"a.test {hop}")
    assert (silent[0], unreachable[0]) == ("relay-silent", "relay-next-hop-unreachable")
    assert silent[1] == f"{listen}: Connection refused"
    assert unreachable[1] == f"{hop}: Connection refused"


def test_a_server_that_turns_us_away(tmp_path: Path) -> None:
    with ArchiveServer() as server:
        server.answers["banner"] = "554 5.7.1 not you"
        codes = found(tmp_path, listen=f"inet:127.0.0.1:{free_port()}", next_hop=server.next_hop)
        assert codes[1] == ("relay-next-hop-unreachable", f"{server.next_hop}: 554 5.7.1 not you")


def test_what_a_server_lacks(tmp_path: Path) -> None:
    with ArchiveServer(extensions=["SIZE 999999"]) as server:
        listen = f"inet:127.0.0.1:{free_port()}"
        assert found(tmp_path, listen=listen, next_hop=server.next_hop, starttls="must")[1:] == [
            ("relay-next-hop-tls", f"{server.next_hop}: it does not offer STARTTLS"),
            ("relay-next-hop-size", f"{server.next_hop}: SIZE 999999; message_size_limit = 1000000"),
        ]


def certificate(directory: Path) -> tuple[Path, Path]:
    made = make_certificates(directory).parent
    return made / "server.pem", made / "server.key"


def test_a_certificate_that_is_not_good(tmp_path: Path) -> None:
    with ArchiveServer(certificate=certificate(tmp_path)) as server:
        listen = f"inet:127.0.0.1:{free_port()}"
        ((code, text),) = found(tmp_path, listen=listen, next_hop=server.next_hop, starttls="must")[1:]
        assert code == "relay-next-hop-tls"
        assert "certificate" in text


def test_a_server_that_takes_mail_encrypted_only_is_asked_as_the_relay_does(tmp_path: Path) -> None:
    with ArchiveServer(certificate=certificate(tmp_path)) as server:
        listen = f"inet:127.0.0.1:{free_port()}"
        assert found(tmp_path, listen=listen, next_hop=server.next_hop)[1:] == []
        assert "STARTTLS" in server.commands


def test_a_sender_that_is_refused(tmp_path: Path) -> None:
    with ArchiveServer() as server:
        server.answers["mail"] = "550 5.7.1 who are you"
        listen = f"inet:127.0.0.1:{free_port()}"
        assert found(tmp_path, listen=listen, next_hop=server.next_hop, envelope_sender="relay@example.com")[1:] == [
            (
                "relay-next-hop-sender",
                f"{server.next_hop}: MAIL FROM:<relay@example.com> has the answer 550 5.7.1 who are you",
            )
        ]
