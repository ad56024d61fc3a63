"""Whether what Postfix asks beside us answers, by a configuration that postconf(1) itself reads."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from ldapmilter.checks import other_milters
from ldapmilter.checks.finding import Report
from tests.support.ports import free_port
from tests.unit.checks.scene import config_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OURS = "unix:/run/ldapmilter/milter.sock"


def found(directory: Path, smtpd: str, non_smtpd: str = "", **main: str) -> list[tuple[str, str]]:
    place = directory / "postfix"
    place.mkdir()
    parameters = {"compatibility_level": "3.6", "smtpd_milters": smtpd, "non_smtpd_milters": non_smtpd, **main}
    (place / "main.cf").write_text("".join(f"{name} = {value}\n" for name, value in parameters.items()))
    (place / "master.cf").write_text("smtp inet n - n - - smtpd\n")
    report = Report()
    other_milters.check(config_of(directory, {"milter": {"socket": OURS}}), report, directory=place)
    return [(finding.code, finding.text) for finding in report.findings]


@pytest.fixture
def listening() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"inet:127.0.0.1:{server.getsockname()[1]}"


def test_ours_is_not_asked_and_one_that_answers_is_fine(tmp_path: Path, listening: str) -> None:
    assert found(tmp_path, f"{OURS}, {listening}", OURS) == []


def test_ours_below_the_queue_is_ours(tmp_path: Path) -> None:
    assert found(tmp_path, "unix:ldapmilter/milter.sock", queue_directory="/run") == []


def test_one_that_does_not_answer_holds_all_mail_up(tmp_path: Path) -> None:
    silent = f"inet:127.0.0.1:{free_port()}"
    ((code, text),) = found(tmp_path, f"{OURS}, {silent}", silent)
    assert code == "postfix-other-milter-silent"
    assert text.startswith(f"smtpd_milters and non_smtpd_milters: {silent}: ")


def test_a_socket_that_is_not_there(tmp_path: Path) -> None:
    ((_, text),) = found(tmp_path, f"{OURS}, unix:{tmp_path}/gone.sock")
    assert text.startswith(f"smtpd_milters: unix:{tmp_path}/gone.sock: ")


def test_a_socket_below_the_queue(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "dkim.sock"))
        server.listen()
        assert found(tmp_path, f"{OURS}, unix:dkim.sock", "unix:/dkim.sock", queue_directory=str(tmp_path)) == []


@pytest.mark.parametrize(
    "spelt",
    [", default_action = accept", ", default_action=accept", " default_action=accept", ", { default_action = accept }"],
)
def test_one_without_which_mail_goes_on_is_nobodys_trouble(tmp_path: Path, spelt: str) -> None:
    silent = f"inet:127.0.0.1:{free_port()}"
    assert found(tmp_path, f"{OURS}, {{ {silent}{spelt} }}") == []


@pytest.mark.parametrize(("protocols", "silent"), [("all", 0), ("ipv4", 1)])
def test_a_name_is_asked_at_the_addresses_that_postfix_tries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocols: str, silent: int
) -> None:
    real = socket.getaddrinfo
    addresses = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda _host, port, family, kind: real(addresses[family], port, family, kind)
    )
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        named = f"inet:filter.test:{server.getsockname()[1]}"
        assert len(found(tmp_path, f"{OURS}, {named}", inet_protocols=protocols)) == silent


def test_a_name_where_nothing_answers_is_silent(tmp_path: Path) -> None:
    silent = f"inet:localhost:{free_port()}"
    ((_, text),) = found(tmp_path, f"{OURS}, {silent}, {silent}")
    assert text == f"smtpd_milters: {silent}: no process listens there"
