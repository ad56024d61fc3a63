"""The copy relay under the daemon, with a real Postfix before it and archive servers behind it.

The tokens are given by hand, and their decisions written as the milter writes them: what is looked at begins where
Postfix hands a copy over.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.support.archive_server import DROP, SILENT, TAKE_AND_DROP, ArchiveServer
from tests.support.daemon import Daemon
from tests.support.ports import HANG, wait_until
from tests.support.postfix import Postfix
from tests.support.processes import freeze, processes
from tests.support.relay import DOMAIN, audit_lines, decision, ends, new_token, write_audit

if TYPE_CHECKING:
    from collections.abc import Iterator

LDIF: Final = "dn: cn=zimbra\nobjectClass: organizationalRole\ncn: zimbra\n"
AUTHOR: Final = "ann@example.test"
MISDEEDS: Final = (
    ("banner", "554 5.3.2 closed"),
    ("hello", "421 4.3.2 going down"),
    ("mail", "451 4.3.0 later"),
    ("mail", "550 5.7.1 not from you"),
    ("rcpt", "450 4.2.1 later"),
    ("rcpt", DROP),
    ("data", "451 4.3.0 later"),
    ("content", DROP),
    ("end", "451 4.3.0 later"),
    ("end", DROP),
    ("end", TAKE_AND_DROP),
)


class Relaying:
    """A daemon with a relay, the Postfix that hands copies to it, and an archive's server."""

    def __init__(self, daemon: Daemon, postfix: Postfix, archive: ArchiveServer) -> None:
        self.daemon, self.postfix, self.archive = daemon, postfix, archive
        self.audit = daemon.directory / "audit.jsonl"

    def relay(self) -> int | None:
        """Return the relay's process."""
        for process in processes():
            if process.parent == self.daemon.pid and process.state != "Z":
                with contextlib.suppress(OSError):
                    if b"relay" in Path(f"/proc/{process.pid}/cmdline").read_bytes().split(b"\0"):
                        return process.pid
        return None

    def kill_relay(self) -> None:
        """Kill it, as the kernel may; return when it is gone."""
        if (pid := self.relay()) is not None:
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda: self.relay() != pid, "the relay's end", pause=0.05)

    def decided(self, count: int = 1, target: str = "vault@archive.example") -> list[str]:
        tokens = [new_token(self.daemon.directory) for _ in range(count)]
        # No Message-ID: what these tests send has none, and Postfix makes one up.
        write_audit(self.audit, decision(tokens, at=time.time(), target=target, message_id=""))
        return tokens

    def send(self, tokens: list[str], message: bytes) -> None:
        recipients = [f"{token}@{DOMAIN}" for token in tokens]
        sent = self.postfix.send(AUTHOR, recipients, message, rcpt_options=["NOTIFY=NEVER"])
        assert sent.code == 250, sent

    def flush(self) -> None:
        """Have Postfix try again what it has deferred."""
        command = ["postqueue", "-c", str(self.postfix.config_directory), "-f"]
        subprocess.run(command, check=False, capture_output=True, timeout=HANG)

    def status(self) -> dict[str, object]:
        told: dict[str, object] = json.loads(self.daemon.cli("status", "--json").stdout)["relay"]
        return told

    def serves(self) -> bool:
        return self.status().get("serves") is True

    def ends(self) -> list[tuple[str, str]]:
        """Return token and state of every end, those in a rotated file too."""
        files = [self.audit.with_name("audit.jsonl.1"), self.audit]
        return [end for file in files if file.exists() for end in ends(file)]

    def settled(self, *, after_a_flush: bool = False) -> set[str]:
        """Return the tokens that have ended."""
        if after_a_flush:
            self.flush()
        return {token for token, state in self.ends() if state != "repeat"}


@pytest.fixture(name="relaying")
def a_daemon_that_relays(tmp_path: Path) -> Iterator[Relaying]:
    (tmp_path / "directory.ldif").write_text(LDIF, encoding="ascii")
    with ArchiveServer() as archive:
        daemon = Daemon(sections={"ldap": {"uri": f"ldif:{tmp_path}/directory.ldif"}, "policy": {"mode": "pass"}})
        files = daemon.directory
        socket = f"unix:{files}/relay.sock"
        daemon.configure(
            {
                "relay": {
                    "listen": socket,
                    "socket_mode": "0666",
                    "socket_group": "",
                    "key_file": f"{files}/relay.key",
                    "next_hop": archive.next_hop,
                    "state": f"{files}/state/copies.sqlite",
                    "kept": f"{files}/kept",
                }
            }
        )
        parameters = {
            "transport_maps": f"inline:{{ {{ {DOMAIN} = lmtp:{socket} }} }}",
            "minimal_backoff_time": "1s",
            "maximal_backoff_time": "2s",
            "queue_run_delay": "1s",
            "lmtp_tls_security_level": "none",
            "message_size_limit": "102400000",
        }
        postfix = Postfix(main_cf=parameters, mynetworks="127.0.0.0/8")
        with daemon, postfix:
            yield Relaying(daemon, postfix, archive)


def kept(relaying: Relaying) -> dict[str, bytes]:
    folder = relaying.daemon.directory / "kept" / "new"
    return {file.name: file.read_bytes().partition(b"\n\n")[2] for file in folder.iterdir()}


class Misdeeds:
    """What an archive's server does wrong: every tenth time something, and one mailbox does not exist."""

    def __init__(self) -> None:
        self.chance = random.Random(4711)
        self.turn = threading.Lock()

    def __call__(self, moment: str, recipient: str) -> str | None:
        if recipient.startswith("never"):
            return "550 5.1.1 no such mailbox" if moment == "rcpt" else None
        with self.turn:
            wrong = [told for when, told in MISDEEDS if when == moment]
            return self.chance.choice(wrong) if wrong and self.chance.random() < 0.1 else None


def happen(relaying: Relaying, number: int) -> None:
    """Have something happen with a message of a number."""
    if number in {5, 35}:  # a third time within a minute, and it would pause
        relaying.kill_relay()
    if number == 20:
        (relaying.daemon.directory / "state" / "copies.sqlite").unlink()
    if number == 30:
        relaying.audit.rename(relaying.daemon.directory / "audit.jsonl.1")
    if number == 40:
        relaying.postfix.stop()
        relaying.postfix.start()
    if number == 50:
        relaying.archive.stop()


def test_every_copy_is_accepted_or_kept_whatever_happens(relaying: Relaying) -> None:
    wait_until(relaying.serves, "the relay to serve")
    relaying.archive.choose = Misdeeds()
    sent: dict[str, bytes] = {}
    for number in range(60):
        tokens = relaying.decided(1 + number % 3) + relaying.decided(number % 7 == 0, "never@archive.example")
        message = b"Subject: %d\r\nMessage-ID: <%d@example.test>\r\n\r\n.\r\n\xe9 %d\r\n" % (number, number, number)
        relaying.send(tokens, message)
        sent |= dict.fromkeys(tokens, message)
        happen(relaying, number)
    relaying.archive.start()
    wait_until(lambda: relaying.settled(after_a_flush=True) >= sent.keys(), "the end of every copy", pause=0.5)
    relaying.postfix.queue_idle()
    found = {token: state for token, state in relaying.ends() if state != "repeat"}
    refused = {token for token, state in found.items() if state == "refused"}
    assert refused == kept(relaying).keys()
    assert (len(refused), set(found.values())) == (9, {"accepted", "refused"})
    # Each message is at the archive at least as often as it was accepted, each time as it was.
    bodies = [filed.octets.partition(b"\r\n\r\n")[2] for filed in relaying.archive.filed]
    for token, octets in kept(relaying).items():
        assert body_of(octets) == body_of(sent[token])
    for message in set(sent.values()):
        accepted = [token for token, state in found.items() if sent[token] == message and state == "accepted"]
        assert bodies.count(body_of(message)) >= len(accepted) > 0
    assert {filed.sender for filed in relaying.archive.filed} == {""}
    assert relaying.postfix.recipients() == set()


def body_of(message: bytes) -> bytes:
    return message.partition(b"\r\n\r\n")[2]


def test_a_relay_that_hangs_or_dies_again_and_again(relaying: Relaying) -> None:
    wait_until(relaying.serves, "the relay to serve")
    (token,) = relaying.decided()
    relaying.archive.answers = {"rcpt": SILENT}
    relaying.send([token], b"Subject: x\r\n\r\nx\r\n")
    wait_until(lambda: any(line.startswith("RCPT") for line in relaying.archive.commands), "the copy to be under way")
    freeze(relaying.relay() or 0)
    relaying.archive.answers = {}
    relaying.daemon.said("has not reported for 20 s: killed")
    wait_until(lambda: token in relaying.settled(after_a_flush=True), "the copy to come through", pause=0.5)

    def pauses() -> bool:
        return bool(relaying.daemon.log_lines("ended three times within a minute (signal 9): copies wait for 60 s"))

    # Two more deaths within a minute of the first; on a busy machine that minute may be over by now.
    while not pauses():
        wait_until(lambda: pauses() or relaying.serves(), "the relay to serve", pause=0.1)
        relaying.kill_relay()
    assert "the copy relay does not run" in relaying.daemon.cli("status").stdout
    assert relaying.daemon.listens()


def test_octets_by_way_of_postfix_and_memory(relaying: Relaying) -> None:
    wait_until(relaying.serves, "the relay to serve")
    line = b"x" * 996 + b"\r\n"
    odd = [
        b"Subject: 8-bit \xe9\r\n\r\n\xff\xfe\r\n",
        b"\r\nno header\r\n",
        b"Subject: no body\r\n",
        b"Subject: dots\r\n\r\n.\r\n..\r\n.\r\n",
        b"Subject: long\r\n\r\n" + b"y" * 998 + b"\r\n",
    ]
    tokens = [relaying.decided() for _ in odd]
    for token, message in zip(tokens, odd, strict=True):
        relaying.send(token, message)
    filed = relaying.archive.wait_filed(len(odd))
    for message in odd:
        body = message.partition(b"\r\n\r\n")[2] if not message.startswith(b"\r\n") else message[2:]
        assert any(one.octets.endswith(b"\r\n\r\n" + body) or one.octets.endswith(body) for one in filed)
    relaying.archive.filed.clear()
    large = b"Subject: large\r\n\r\n" + line * 60_000
    before = _resident(relaying.relay())
    relaying.send(relaying.decided(3), large)
    (first, *_) = relaying.archive.wait_filed(3)
    assert first.octets.endswith(line * 60_000)
    assert _peak(relaying.relay()) - before < 40
    wait_until(lambda: relaying.status()["octets"] == 0, "an empty relay")


def _resident(pid: int | None) -> float:
    return _of_status(pid, "VmRSS")


def _peak(pid: int | None) -> float:
    return _of_status(pid, "VmHWM")


def _of_status(pid: int | None, name: str) -> float:
    """Return a line of proc(5) ``status`` in MB."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:"))


def test_a_reload_and_an_end(relaying: Relaying) -> None:
    wait_until(relaying.serves, "the relay to serve")
    first = relaying.relay()
    assert first is not None
    os.kill(first, signal.SIGHUP)  # for the parent, and whoever sends it by name or to the group reaches all
    with ArchiveServer("lmtp", path=relaying.daemon.directory / "lmtp.sock") as other:
        relaying.daemon.configure({"relay": {"next_hop": other.next_hop}})
        os.kill(relaying.daemon.pid, signal.SIGHUP)
        relaying.daemon.said("configuration reloaded")
        wait_until(lambda: relaying.serves() and relaying.relay() == first, "the same relay")
        (token,) = relaying.decided()
        relaying.send([token], b"Subject: x\r\n\r\nx\r\n")
        other.wait_filed(1)
        relaying.daemon.configure({"relay": {"kept": f"{relaying.daemon.directory}/kept2"}})
        os.kill(relaying.daemon.pid, signal.SIGHUP)
        wait_until(lambda: relaying.relay() not in {first, None} and relaying.serves(), "another relay")
        (token,) = relaying.decided()
        other.answers = {"end": "554 5.7.1 no"}
        relaying.send([token], b"Subject: y\r\n\r\ny\r\n")
        wait_until(lambda: token in relaying.settled(), "the refusal")
        assert (relaying.daemon.directory / "kept2" / "new" / token).exists()
        assert [line["state"] for line in audit_lines(relaying.audit) if line.get("token") == token] == ["refused"]
        relaying.daemon.configure({"relay": {"listen": ""}})
        os.kill(relaying.daemon.pid, signal.SIGHUP)
        wait_until(lambda: relaying.relay() is None, "no relay")
        wait_until(lambda: not (relaying.daemon.directory / "relay.sock").exists(), "no socket")
    assert relaying.daemon.stop() == 0


def test_a_second_relay_and_a_maildir_that_takes_nothing(relaying: Relaying) -> None:
    wait_until(relaying.serves, "the relay to serve")
    files = relaying.daemon.directory
    other = files / "other.ini"
    text = relaying.daemon.config.read_text(encoding="utf-8")
    other.write_text(text.replace(f"{files}/relay.sock", f"{files}/other.sock"), encoding="utf-8")
    second = relaying.daemon.cli("relay", config=other)
    assert second.returncode != 0
    refused = f"[relay] state = {files}/state/copies.sqlite: another copy relay (process {relaying.relay()}) has it"
    assert refused in second.stdout + second.stderr

    unusable = files / "kept" / "tmp"
    unusable.rmdir()
    unusable.write_bytes(b"")  # no mode keeps root out
    relaying.archive.answers = {"rcpt": "550 5.1.1 no such mailbox"}
    (token,) = relaying.decided()
    relaying.send([token], b"Subject: x\r\n\r\nx\r\n")
    relaying.daemon.said("copies are deferred, or will be: ")
    wait_until(lambda: "cannot be kept" in str(relaying.status()["problem"]), "the status to tell")
    assert "the copy relay defers copies" in relaying.daemon.cli("status").stdout
    assert relaying.ends() == []

    unusable.unlink()
    unusable.mkdir()
    wait_until(lambda: token in relaying.settled(after_a_flush=True), "the copy to be kept", pause=0.5)
    assert relaying.ends() == [(token, "refused")]
    assert kept(relaying)[token].endswith(b"\r\n\r\nx\r\n")
    wait_until(lambda: relaying.status()["problem"] is None, "the status to tell that it is over")


def test_an_archive_that_says_nothing_and_a_state_that_is_not_to_be_had(relaying: Relaying) -> None:
    wait_until(relaying.serves, "the relay to serve")
    silent, other = relaying.decided()[0], relaying.decided()[0]
    relaying.archive.answers = {"rcpt": SILENT}
    relaying.send([silent], b"Subject: x\r\n\r\nx\r\n")
    wait_until(lambda: relaying.status()["down"] != {}, "the archive to be left alone", pause=0.5)
    assert relaying.status()["down"] == {relaying.archive.next_hop: "nothing came in time"}
    relaying.postfix.said(f"to=<{silent}@{DOMAIN}>", "the server of this copy does not take it now")

    state = relaying.daemon.directory / "state"
    state.rename(relaying.daemon.directory / "aside")
    state.write_bytes(b"")  # no mode keeps root out
    relaying.archive.answers = {}
    relaying.send([other], b"Subject: y\r\n\r\ny\r\n")
    relaying.daemon.said("copies are deferred, or will be: ")
    relaying.postfix.said(f"to=<{other}@{DOMAIN}>", "what becomes of this copy cannot be recorded now")
    wait_until(lambda: relaying.status()["problem"] is not None, "the status to tell")
    assert "the copy relay defers copies" in relaying.daemon.cli("status").stdout
    assert (relaying.ends(), relaying.archive.filed) == ([], [])

    state.unlink()
    (relaying.daemon.directory / "aside").rename(state)
    both = {silent, other}
    wait_until(lambda: relaying.settled(after_a_flush=True) == both, "both copies to come through", pause=0.5)
    assert sorted(relaying.ends()) == sorted([(silent, "accepted"), (other, "accepted")])
    assert len(relaying.archive.filed) == 2
    wait_until(lambda: relaying.status()["problem"] is None, "the status to tell that it is over")
