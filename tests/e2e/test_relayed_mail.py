"""Copies by way of the relay, from the author to the archive's server: real slapd, Postfix, milter and relay."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from ldapmilter.delivery.token import TokenKey
from tests.e2e.company import ARCHIVE, HOLD, LOGINS, PASSWORD, company
from tests.e2e.scene import Scene
from tests.support import audit_lines
from tests.support.archive_server import ArchiveServer
from tests.support.daemon import Daemon
from tests.support.ports import HANG, wait_until
from tests.support.postfix import Postfix
from tests.support.slapd import Slapd

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.archive_server import Filed
    from tests.support.smtp_client import Sent

SCRIPTS: Final = Path(__file__).resolve().parents[2] / "scripts"
ANN: Final = "ann@example.test"
BOB: Final = "bob@example.test"
CARL: Final = "carl@example.test"
KIM: Final = "kim@example.test"


@dataclass
class Site:
    """The running mail system: ann's mail is archived (tracked) and under a legal hold (journal)."""

    daemon: Daemon
    postfix: Postfix
    archive: ArchiveServer

    def send(self, sender: str, to: list[str], head: str = "", *, login: bool = True) -> tuple[str, Sent]:
        """Send a message; return what is unique in it, and what Postfix said."""
        token, message = Scene.compose(sender, f"From: <{sender}>\nTo: <{to[0]}>{head}")
        secret = {"login": sender, "password": PASSWORD} if login else {}
        return token, self.postfix.send(sender, to, message, **secret)

    def filed(self, token: str, count: int) -> list[Filed]:
        """Return what the archive has of a message, once it has so much."""
        found: list[Filed] = []

        def there() -> bool:
            found[:] = [one for one in self.archive.filed if token.encode() in one.octets]
            return len(found) >= count

        wait_until(there, f"{count} copies of {token} in the archive")
        return found

    def audit(self) -> list[dict[str, Any]]:
        return audit_lines.events(self.daemon.directory / "audit.jsonl")

    def decided(self, token: str) -> dict[str, Any]:
        (record,) = [one for one in self.audit() if one.get("message_id") == f"<{token}@client.test>"]
        return record

    def route(self) -> str:
        told: str = json.loads(self.daemon.cli("status", "--json").stdout)["relay"]["route"]
        return told

    def reload(self, sections: dict[str, dict[str, str]]) -> None:
        """Change options, and have the daemon take them over."""
        self.daemon.configure(sections)
        before = len(self.daemon.log_lines("configuration reloaded"))
        os.kill(self.daemon.pid, signal.SIGHUP)
        wait_until(lambda: len(self.daemon.log_lines("configuration reloaded")) > before, "the reload")

    def register(self, script: str, *arguments: str) -> None:
        command = [str(SCRIPTS / script), "--relay", *arguments, "--postfix-dir", str(self.postfix.config_directory)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=HANG)
        assert done.returncode == 0, done.stderr

    def routed_again(self, state: str) -> None:
        """Have the daemon ask Postfix now, and not within the minute."""
        os.kill(self.daemon.pid, signal.SIGHUP)
        wait_until(lambda: self.route() == state, f"the route to be {state}")


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Slapd(company()) as slapd, ArchiveServer() as archive:
        daemon = Daemon(slapd, {"copy archive": {"delivery": "tracked"}, "copy legal": {"delivery": "journal"}})
        files, postfix = daemon.directory, Postfix(milters=daemon.socket, users=LOGINS)
        listen = f"unix:{files}/relay.sock"
        daemon.configure(
            {
                "relay": {
                    "listen": listen,
                    "socket_mode": "0666",
                    "socket_group": "",
                    "postfix_dir": str(postfix.config_directory),
                    "key_file": f"{files}/relay.key",
                    "next_hop": archive.next_hop,
                    "state": f"{files}/copies.sqlite",
                    "kept": f"{files}/kept",
                }
            }
        )
        found = Site(daemon, postfix, archive)
        found.register("register", listen)
        postfix.set_parameters(transport_maps=_transport_maps(postfix), minimal_backoff_time="1s", queue_run_delay="1s")
        with daemon, postfix:
            wait_until(lambda: found.route() == "routed", "the route to be known")
            yield found


def _transport_maps(postfix: Postfix) -> str:
    command = ["/usr/sbin/postconf", "-c", str(postfix.config_directory), "-h", "transport_maps"]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=HANG).stdout.strip()


def test_each_copy_is_accepted_and_the_audit_says_so(site: Site) -> None:
    token, sent = site.send(ANN, [BOB, KIM])
    assert sent.accepted, sent
    tracked, report = sorted(site.filed(token, 2), key=lambda one: b"X-MS-Journal-Report" in one.octets)
    assert (tracked.sender.strip("<>"), tracked.recipient.strip("<>")) == ("", ARCHIVE)
    assert b"X-MS-Journal-Report" not in tracked.octets
    assert report.recipient.strip("<>") == HOLD
    assert b"\r\nTo: bob@example.test\r\n" in report.octets
    assert b"\r\nBcc: kim@example.test\r\n" in report.octets

    record = site.decided(token)
    copies = {copy["address"]: copy for copy in record["copies"]}
    assert (copies[ARCHIVE]["delivery"], copies[HOLD]["delivery"]) == ("tracked", "journal")
    tokens = {copies[ARCHIVE]["token"], copies[HOLD]["token"]}
    key = TokenKey.load(site.daemon.directory / "relay.key")
    assert all(map(key.valid, tokens))

    def ended() -> set[str]:
        ends = [line for line in site.audit() if line.get("event") == "copy" and line["state"] == "accepted"]
        return tokens & {line["token"] for line in ends}

    wait_until(lambda: ended() == tokens, "both ends to be in the audit")
    # Nobody else gets anything, and the author no word.
    site.postfix.queue_idle()
    boxes = {box for box in site.postfix.recipients() if any(token.encode() in m for m in site.postfix.messages(box))}
    assert boxes & {BOB, KIM} == {BOB, KIM}
    assert not boxes & {ANN, ARCHIVE, HOLD}
    told = site.daemon.cli("audit", "find", "--message-id", f"<{token}@client.test>").stdout
    assert "tracked: by way of the copy relay, unchanged, token" in told


def test_the_target_as_a_recipient_gets_the_message_once_and_its_report(site: Site) -> None:
    token, sent = site.send(ANN, [BOB, HOLD])
    assert sent.accepted, sent
    site.filed(token, 2)  # the tracked copy, and the report
    site.postfix.wait_delivered(HOLD)
    site.postfix.queue_idle()
    assert sum(token.encode() in message for message in site.postfix.messages(HOLD)) == 1


def test_a_probe_shows_the_way_and_its_tokens_are_marked(site: Site) -> None:
    told = site.daemon.cli("probe", "--auth", ANN, "--rcpt", BOB).stdout
    lines = [line for line in told.splitlines() if line.startswith("copy ")]
    assert [line.endswith("NOTIFY=NEVER, by way of the copy relay") for line in lines] == [True, True], told
    key = TokenKey.load(site.daemon.directory / "relay.key")
    assert all(key.is_probe(line.split()[1].partition("@")[0]) for line in lines)
    explained = site.daemon.explain("--auth", ANN, "--rcpt", BOB)
    assert sorted((copy["delivery"], copy["token"]) for copy in explained["copies"]) == [
        ("journal", None),
        ("tracked", None),
    ]


def test_nobody_else_writes_to_the_relay(site: Site) -> None:
    for login in (True, False):
        _, sent = site.send(ANN, [BOB, f"{48 * '0'}@copies.invalid"] if login else [f"{48 * 'a'}@copies.invalid"])
        assert (sent.code, "5.1.1" in sent.text) == (550, True), sent


def test_a_report_that_comes_back_is_left_alone(site: Site) -> None:
    token, _ = site.send(ANN, [BOB])
    (ours,) = [copy["token"] for copy in site.decided(token)["copies"] if copy["delivery"] == "journal"]
    before = len(site.audit())
    message = f"From: <journal@copies.invalid>\r\nMessage-ID: <{ours}@copies.invalid>\r\n\r\nreport\r\n".encode()
    assert site.postfix.send("", [CARL], message).accepted
    site.postfix.wait_delivered(CARL)
    site.postfix.queue_idle()
    came = [line for line in site.audit()[before:] if line.get("message_id") == f"<{ours}@copies.invalid>"]
    assert came == []
    # The same from somebody who logs in: carl's copies are made.
    assert site.postfix.send(BOB, [CARL], message, login=BOB, password=PASSWORD).accepted
    assert any(line.get("message_id") == f"<{ours}@copies.invalid>" for line in site.audit())


def test_without_a_route_mail_with_such_copies_waits_and_other_mail_flows(site: Site) -> None:
    listen = f"unix:{site.daemon.directory}/relay.sock"
    site.postfix.queue_idle()  # the route is not taken from under copies that an earlier test left on their way
    site.register("unregister")
    site.routed_again("not routed")
    token, sent = site.send(ANN, [BOB])
    assert (sent.code, "Temporary policy lookup failure" in sent.text) == (451, True), sent
    assert "the copy relay is not routed" in site.decided(token)["warnings"][-1]
    assert site.send(BOB, [KIM])[1].accepted
    live = site.daemon.cli("explain", "--live", "--auth", ANN, "--rcpt", BOB)
    assert (live.returncode, "the copy relay is not routed" in live.stdout) == (1, True), live.stdout
    status = site.daemon.cli("status")
    assert status.returncode == 1
    assert "PROBLEM   Postfix does not route copies to the copy relay" in status.stdout
    assert site.daemon.said("Postfix does not route copies to the copy relay")
    checked = site.daemon.cli("check", "--json", "--postconf-dir", str(site.postfix.config_directory))
    codes = {finding["code"] for finding in json.loads(checked.stdout)["findings"]}
    assert {code for code in codes if code.startswith("relay-")} == {"relay-not-routed", "relay-next-hop-own"}

    site.register("register", listen)
    site.postfix.reload()
    site.routed_again("routed")
    assert site.daemon.said("Postfix routes copies to the copy relay again")
    token, sent = site.send(ANN, [BOB])
    assert sent.accepted, sent
    site.filed(token, 2)


def test_in_observe_mode_nothing_goes_to_the_relay_and_the_audit_says_what_would(site: Site) -> None:
    site.postfix.queue_idle()  # what an earlier test left on its way has ended, and the audit says so
    before, filed = len(site.audit()), len(site.archive.filed)
    site.reload({"policy": {"mode": "observe"}})
    try:
        token, sent = site.send(ANN, [BOB])
        assert sent.accepted, sent
        site.postfix.queue_idle()
        assert any(token.encode() in message for message in site.postfix.messages(BOB))
        copies = site.decided(token)["copies"]
        assert {(copy["delivery"], copy["token"]) for copy in copies} == {("tracked", None), ("journal", None)}
        assert [line for line in site.audit()[before:] if line.get("event") == "copy"] == []
        assert len(site.archive.filed) == filed
    finally:
        site.reload({"policy": {"mode": "apply"}})
