"""Verbs that ask the running daemon: with a mistake in the file, with a changed file, without the password."""

from __future__ import annotations

import json
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from ldapmilter.cli.main import main
from ldapmilter.config_text import digest
from ldapmilter.daemon.channel import encode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOTHING_WRONG: dict[str, Any] = {
    "version": "1",
    "pid": 1,
    "socket": "unix:/run/ldapmilter/milter.sock",
    "config": "/x",
    "started_at": 0.0,
    "reloaded_at": 0.0,
    "reload_failure": None,
    "reload_failed_at": None,
    "reload_failed_digest": None,
    "workers_wanted": 0,
    "restarts": 0,
    "workers": [],
    "directory": {
        "embedded": False,
        "up": True,
        "servers": [
            {
                "uri": "ldap://a",
                "up": True,
                "answered_at": 0.0,
                "failing_since": None,
                "failure": "",
                "unreadable": None,
            }
        ],
        "problems": [],
    },
    "not_applied": [],
    "invalid_values": [],
    "audit_fails": False,
    "last_message": None,
    "counts": {},
    "cached": 0,
    "entries": 3,
    "killed": [],
}


class ADaemon:
    """Answers every request alike, and runs with the text that it was started with."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "config.ini"
        self.answer = dict(NOTHING_WRONG)
        audit = f"[audit]\nfile = {folder}/audit.jsonl\n"
        self.running = f"[ldap]\nuri = ldap://a\n[control]\nsocket = {folder}/control.sock\n{audit}"
        self.file.write_text(self.running, encoding="utf-8")
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listening.bind(str(folder / "control.sock"))
        self._listening.listen(8)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with connection:
                connection.recv(4096)
                running = {"file": str(self.file), "digest": digest(self.running), "socket": NOTHING_WRONG["socket"]}
                connection.sendall(encode({"heard": 1}) + encode({**self.answer, "configuration": running}))

    def close(self) -> None:
        if self._listening.fileno() < 0:
            return
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def write(self, old: str, new: str) -> str:
        text = self.running.replace(old, new)
        self.file.write_text(text, encoding="utf-8", errors="surrogateescape")
        return text

    def refused(self, text: str, error: str) -> None:
        self.answer |= {"reload_failure": error, "reload_failed_at": time.time(), "reload_failed_digest": digest(text)}

    def run(self, *arguments: str) -> int:
        return main(["--config", str(self.file), *arguments])


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[ADaemon]:
    found = ADaemon(tmp_path)
    yield found
    found.close()


MISTAKES = [
    ("[ldap]", "[ldpa]", "[ldap]"),
    ("uri = ldap://a", "uri = ldap://a\nstarttls = perhaps", "starttls"),
    ("uri = ldap://a", "uri ldap://a", "uri ldap"),
    ("[ldap]", "x = 1\n[ldap]", "line 1 stands before the first section"),
    ("uri = ldap://a", "uri = ldap://a\nbind_dn = uid=a\nbind_password_file = /nowhere", "/nowhere"),
    ("uri = ldap://a", "uri = ldap://a ; caf\udce9", "line 2: octet 21 (0xE9) is not UTF-8; save the file as UTF-8"),
    ("uri = ldap://a", "uri = ldap://a ; \0", "line 2: octet 18 (0x00) is not text; take it out"),
]


@pytest.mark.parametrize(("old", "new", "said"), MISTAKES)
@pytest.mark.parametrize(
    "verb", [("status",), ("cache", "flush", "--all"), ("cache", "stats"), ("cache", "flush", "a@b.test")]
)
def test_a_mistake_in_the_file_is_told_beside_the_answer(
    daemon: ADaemon, capsys: pytest.CaptureFixture[str], verb: tuple[str, ...], old: str, new: str, said: str
) -> None:
    daemon.write(old, new)
    status = daemon.run(*verb)
    shown = capsys.readouterr()
    if verb == ("status",):
        assert (status, shown.err) == (1, "")
        assert "cannot be used" in shown.out
        (line,) = [line for line in shown.out.splitlines() if line.startswith("PROBLEM")]
    else:
        assert status == 0
        assert shown.out
        (line,) = shown.err.splitlines()
    assert said in line
    assert str(daemon.file) in line


def test_a_file_that_is_in_force(daemon: ADaemon, capsys: pytest.CaptureFixture[str]) -> None:
    assert daemon.run("status") == 0
    assert "the file is the same" in capsys.readouterr().out
    assert daemon.run("status", "--json") == 0
    assert json.loads(capsys.readouterr().out)["file"] == {"state": "in force", "problem": None}


def test_a_changed_file_waits_for_a_reload(daemon: ADaemon, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.write("ldap://a", "ldap://b")
    assert daemon.run("status") == 0
    assert "has been changed since: a reload would take it over" in capsys.readouterr().out
    assert daemon.run("cache", "flush", "--all") == 0
    assert capsys.readouterr().err == ""


def test_an_old_refusal_is_not_repeated_once_the_file_is_mended(
    daemon: ADaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = daemon.write("ldap://a", "ftp://a")
    daemon.refused(refused, "the old error")
    assert daemon.run("status") == 1
    shown = capsys.readouterr().out
    assert "a reload would be refused" in shown
    assert "the old error" not in shown
    daemon.write("ldap://a", "ldap://b")
    assert daemon.run("status") == 1
    shown = capsys.readouterr().out
    assert "was refused, and the file has been changed since: reload again" in shown
    assert "the old error" not in shown
    daemon.write("", "")
    assert daemon.run("status") == 0
    assert "PROBLEM" not in capsys.readouterr().out


def test_a_refusal_that_is_not_the_files_fault_stays(daemon: ADaemon, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.refused(daemon.running, "the audit cannot be written")
    assert daemon.run("status") == 1
    shown = capsys.readouterr().out
    assert "PROBLEM   the configuration was not reloaded at 2" in shown
    assert "the audit cannot be written; reload again when that is corrected" in shown


@pytest.mark.parametrize("more", [["a@b.test"], ["--cos", "sales"], ["--domain", "b.test"]])
def test_a_flush_of_everything_and_something_is_asked_back(more: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        main(["cache", "flush", "--all", *more])
    assert leaving.value.code == 2
    assert "--all is everything" in capsys.readouterr().err


@pytest.mark.parametrize("verb", [("status",), ("cache", "flush", "--all")])
def test_why_no_daemon_may_run(daemon: ADaemon, capsys: pytest.CaptureFixture[str], verb: tuple[str, ...]) -> None:
    daemon.close()
    assert daemon.run(*verb) == 4
    (unreachable,) = capsys.readouterr().err.splitlines()
    assert "does ldapmilter run? (ldapmilter check --config-only tells whether its configuration can be" in unreachable
    daemon.write("[ldap]", "[ldap")
    assert daemon.run(*verb) == 4
    mistake, again = capsys.readouterr().err.splitlines()
    assert "line 1 is no section" in mistake
    assert "does ldapmilter run?" in again


def test_a_control_socket_that_cannot_be_one(daemon: ADaemon, capsys: pytest.CaptureFixture[str]) -> None:
    for value, words in (("run/x", "allowed is the absolute path"), ("", "is empty: the daemon cannot be asked")):
        daemon.file.write_text(f"[control]\nsocket = {value}\n", encoding="utf-8")
        assert daemon.run("status") == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"ldapmilter: {daemon.file}: [control] socket")
        assert words in line


def test_a_daemon_of_an_older_version(daemon: ADaemon, capsys: pytest.CaptureFixture[str]) -> None:
    answer = {name: value for name, value in NOTHING_WRONG.items() if not name.startswith("reload_failed")}
    for name in ("reload_failed_at", "reload_failed_digest"):
        del daemon.answer[name]
    assert answer == daemon.answer
    daemon.running = "x"
    assert daemon.run("status") == 0
    assert capsys.readouterr().err == ""


UNKNOWN: list[tuple[dict[str, Any], int, str]] = [
    ({"unknown": [{"kind": "COS", "name": "slaes", "near": "sales"}]}, 1, "no COS 'slaes'; did you mean sales?"),
    ({"unknown": [{"kind": "domain", "name": "x.test", "near": None}]}, 1, "the directory has no domain 'x.test'"),
    (
        {"unknown": [{"kind": "address", "name": "ann@x.test", "near": "ann@y.test"}]},
        1,
        "no account or list 'ann@x.test', and no list names it as a member; did you mean ann@y.test?",
    ),
    ({"unknown": [], "not_asked": "no server answers"}, 3, "could not be asked: no server answers"),
]


@pytest.mark.parametrize(("answer", "wanted", "said"), UNKNOWN)
def test_a_flush_of_a_name_that_does_not_exist(
    daemon: ADaemon, capsys: pytest.CaptureFixture[str], answer: dict[str, Any], wanted: int, said: str
) -> None:
    daemon.answer |= answer
    assert daemon.run("cache", "flush", "--cos", "slaes") == wanted
    shown = capsys.readouterr()
    assert shown.out.startswith("forgot 3 answers")
    assert shown.err.rstrip().endswith(said)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"unknown": [], "not_asked": None}, "forgot 0 answers in 2 workers: none was held, so the next message"),
        ({"unknown": [], "not_asked": "no server answers"}, "forgot 0 answers in 2 workers\n"),
        ({"unknown": [], "killed": [1]}, "forgot 0 answers in 2 workers\n"),
        ({"entries": 1, "workers": 1}, "forgot 1 answer in 1 worker\n"),
    ],
)
def test_why_a_flush_forgot_nothing(
    daemon: ADaemon, capsys: pytest.CaptureFixture[str], answer: dict[str, Any], said: str
) -> None:
    daemon.answer |= {"entries": 0, "workers": 2} | answer
    daemon.run("cache", "flush", "ann@example.test")
    assert capsys.readouterr().out.startswith(said)


def test_a_socket_that_a_reload_would_not_take_over(daemon: ADaemon, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.write("[ldap]", "[milter]\nsocket = unix:/other\n[ldap]")
    assert daemon.run("status") == 1
    shown = capsys.readouterr().out
    assert "PROBLEM   a reload would be refused: " in shown
    kept = f"a running daemon keeps its socket {NOTHING_WRONG['socket']}; restart it to listen elsewhere"
    assert f"socket = unix:/other: {kept}" in shown


REFUSALS = [
    ({"refused": None}, 0, "a reload would take it over"),
    ({"refused": "the directory is down"}, 1, "the directory is down [config-reload-refused]"),
    ({"error": "user bob may not ask"}, 4, "what a running daemon would refuse is not known: user bob may not ask"),
]


@pytest.mark.parametrize(("answer", "wanted", "said"), REFUSALS)
def test_a_configuration_is_tried_before_the_reload(
    daemon: ADaemon, capsys: pytest.CaptureFixture[str], answer: dict[str, Any], wanted: int, said: str
) -> None:
    daemon.answer |= answer
    assert daemon.run("check", "--config-only") == wanted
    shown = capsys.readouterr().out
    assert f"{daemon.file}: can be used" in shown
    assert said in shown


def test_what_can_be_tried_without_a_daemon(daemon: ADaemon, capsys: pytest.CaptureFixture[str]) -> None:
    other = daemon.file.with_name("other.ini")
    other.write_text(daemon.running, encoding="utf-8")
    assert main(["check", "--config-only", "--config", str(other)]) == 0
    assert f"the running daemon has {daemon.file} in force: it was not asked about {other}" in capsys.readouterr().out
    other.write_text(daemon.running.replace("[control]\nsocket", "[control]\nsocket =\n;"), encoding="utf-8")
    assert main(["check", "--config-only", "--config", str(other)]) == 0
    assert "what a running daemon would refuse cannot be asked" in capsys.readouterr().out
    daemon.close()
    assert daemon.run("check", "--config-only") == 4
    capsys.readouterr()
    daemon.write("uri = ldap://a", "uri = ldap://a\nbind_dn = uid=a\nbind_password_file = /nowhere")
    assert daemon.run("check", "--config-only") == 2
    assert "/nowhere" in capsys.readouterr().err
    assert daemon.run("check", "--config-only", "--directory") == 2
    assert "goes without the other options" in capsys.readouterr().err
