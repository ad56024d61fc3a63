"""Journaled copies through a real Postfix, the daemon and its relay: the report, and what can be said of it later."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import tempfile
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.e2e.company import PASSWORD
from tests.e2e.scene import Scene
from tests.support.archive_server import ArchiveServer
from tests.support.builders import account, domain, dynamic_group, global_config, static_list
from tests.support.journal_readers import archived_recipients, by_email, strictly
from tests.support.names import zimbra_id
from tests.support.ports import HANG, LOOPBACK, free_port, wait_until
from tests.support.record import merge
from tests.support.zimbra_base import base_records

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.journal_readers import Journal
    from tests.support.record import Record

ANN: Final = "ann@example.test"
VAULT: Final = "vault@archive.test"
DYN: Final = "dyn@example.test"


def records() -> list[Record]:
    return merge(
        [
            *base_records(),
            *global_config(zimbraDefaultDomainName="example.test"),
            *domain("example.test"),
            *account(ANN, displayName="Ann", ldapMilterArchiveSentBcc=f"{VAULT} ref=K-7"),
            *account("bob@example.test", ldapMilterArchiveReceivedBcc=VAULT),
            *account("carl@example.test", aliases=["c@example.test"], zimbraPrefMailForwardingAddress="carl@home.test"),
            *account("dan@example.test"),
            *account("eve@example.test", zimbraMemberOf=zimbra_id("group", DYN)),
            *static_list("all@example.test", ["inner@example.test", "dan@example.test"]),
            *static_list("inner@example.test", ["carl@example.test", "Kim@Outside.test"]),
            *dynamic_group(DYN),
        ]
    )


class Office:
    """The scene, and the archive behind its relay."""

    def __init__(self, scene: Scene, archive: ArchiveServer, metrics: int) -> None:
        self.scene = scene
        self._metrics = metrics
        self.archive = archive

    def report(self) -> Journal:
        """Return the one report that comes, read by all readers."""
        filed = self.archive.wait_filed(1)[-1]
        self.archive.filed.clear()
        journal, other = strictly(filed.octets), by_email(filed.octets)
        assert (filed.sender, filed.recipient) == ("", VAULT)
        assert (other.sender, other.recipients, other.subject) == (journal.sender, journal.recipients, journal.subject)
        named = {line.partition(": ")[2].partition(",")[0] for line in journal.recipients}
        assert named <= set(archived_recipients(filed.octets))
        return journal

    def copies(self, *arguments: str, status: int = 0) -> Any:
        done = self.scene.daemon.cli("copies", "--json", *arguments)
        assert done.returncode == status, done.stdout + done.stderr
        return json.loads(done.stdout)

    def kept(self) -> int:
        """Return how many copies are kept, whatever the exit status says of it."""
        counts = json.loads(self.scene.daemon.cli("copies", "--json").stdout)["counts"]
        return int(counts["kept"]) if counts is not None else 0  # the relay has only just begun

    def metric(self, name: str) -> float:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{self._metrics}/metrics", timeout=HANG) as page:
            text = page.read().decode()
        (value,) = re.findall(rf"^{name} (\S+)$", text, re.MULTILINE) or ["nan"]  # of a relay that has not reported yet
        return float(value)


@pytest.fixture(scope="module")
def office() -> Iterator[Office]:
    port, metrics = free_port(), free_port()
    with tempfile.TemporaryDirectory(prefix="relay-") as directory, ArchiveServer() as archive:
        relay = {
            "listen": f"inet:{LOOPBACK}:{port}",
            "postfix_dir": f"{directory}/postfix",
            "key_file": f"{directory}/relay.key",
            "state": f"{directory}/copies.sqlite",
            "kept": f"{directory}/kept",
            "next_hop": archive.next_hop,
        }
        scene = Scene(
            {
                "main": {
                    "copy archive": {"delivery": "journal"},
                    "relay": relay,
                    "metrics": {"listen": f"{LOOPBACK}:{metrics}"},
                }
            },
            records=records(),
            postfix_main={
                "transport_maps": f"inline:{{ {{ copies.invalid = lmtp:inet:{LOOPBACK}:{port} }} }}",
                "smtputf8_enable": "yes",
            },
        )
        with scene:
            Path(directory, "postfix").symlink_to(scene.postfix.config_directory)
            yield Office(scene, archive, metrics)


def test_a_message_to_everybody_line_by_line(office: Office) -> None:
    recipients = ["all@example.test", "C@example.test", DYN, "frank@client.test", "dan@example.test"]
    header = "From: Boss <boss@example.test>\nTo: All <ALL@example.test>\nCc: c@example.test"
    header += "\nSubject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?="
    mailed = office.scene.submit(ANN, recipients, header=header)
    journal = office.report()
    assert (journal.sender, journal.on_behalf_of, journal.subject) == (ANN, "boss@example.test", "Grüße")
    assert journal.message_id == f"<{mailed.token}@client.test>"
    assert journal.recipients == (
        "To: carl@example.test, Expanded: all@example.test",
        "To: kim@outside.test, Expanded: all@example.test",
        "To: carl@home.test, Expanded: all@example.test",
        "Cc: c@example.test",
        "Bcc: eve@example.test, Expanded: dyn@example.test",
        "Bcc: frank@client.test",
        "Bcc: dan@example.test",
    )
    assert journal.headers["X-Ldapmilter-Ref"] == "K-7"
    assert journal.headers["X-Ldapmilter-Queue-Id"] == mailed.sent.queue_id
    assert b"Received: " in journal.original
    assert journal.original.endswith(b"\r\n\r\nHello.\r\n")

    def copies() -> list[dict[str, Any]]:
        return [
            copy
            for copy in office.copies("--message-id", f"{mailed.token}@client.test")["copies"]
            if copy["state"] == "ended"
        ]

    wait_until(lambda: bool(copies()), "the end of the copy")
    (copy,) = copies()
    assert (copy["fate"], copy["domain"], copy["delivery"]) == ("accepted", "archive.test", "journal")
    assert f"<{copy['token']}@copies.invalid>" == journal.headers["Message-ID"]
    told = office.scene.daemon.cli("audit", "find", "--queue-id", str(mailed.sent.queue_id))
    assert "fate: accepted" in told.stdout
    assert office.archive.next_hop in told.stdout
    assert "0 copies kept" in office.scene.daemon.cli("copies").stdout


def test_a_message_from_outside(office: Office) -> None:
    office.scene.mail("joe@client.test", ["bob@example.test", "dan@example.test"], header="To: bob@example.test")
    journal = office.report()
    assert journal.sender == "joe@client.test"
    assert journal.recipients == ("Recipient: bob@example.test", "Recipient: dan@example.test")


def test_addresses_beyond_ascii(office: Office) -> None:
    """RFC 6531: the archive's server knows nothing of it, and gets the report all the same."""
    assert "SMTPUTF8" not in office.archive.extensions
    header = "Subject: Grüße\r\nFrom: jörg@client.test\r\nTo: bob@example.test, zoë@client.test"
    message = f"{header}\r\n\r\nHé.\r\n".encode()
    recipients = ["bob@example.test", "zoë@client.test", "änne@client.test"]
    options = ["SMTPUTF8", "BODY=8BITMIME"]
    sent = office.scene.postfix.send(
        "jörg@client.test", recipients, message, login=ANN, password=PASSWORD, mail_options=options
    )
    assert sent.accepted, sent
    journal = office.report()
    assert (journal.sender, journal.on_behalf_of, journal.subject) == (ANN, "jörg@client.test", "Grüße")
    assert journal.recipients == ("To: bob@example.test", "To: zoë@client.test", "Bcc: änne@client.test")
    assert journal.original.endswith(message)


@pytest.mark.parametrize(
    "header",
    [
        b"Message-ID: <\xe9\xff@client.test>",
        b"Message-ID: <\xc3\xa9@client.test>",
        b"Message-ID: <" + b"x" * 5_000 + b"@client.test>",
        b"Message-ID: <" + b"x" * 90_000 + b"@client.test>",
        b"Message-ID: <" + b"x" * 200_000 + b"@client.test>",
        b"message-id \t:\r\n\t<a(comment\\)\r\n b@client.test>  \t",
        b'Message-ID: <"a\\"b\r\n\tc"@[192.0.2.1]> trailing words',
        b"Message-ID: <\x01\x1b[31m\x7f@client.test>",
        b"Message-ID: <one@client.test>\r\nMessage-ID: <two@client.test>",
        b"Message-ID:\r\nMessage-ID: <two@client.test>",
        b"Message-ID: =?utf-8?q?=3Cone=40client.test=3E?=",
        b"Message-ID: \r <bare@client.test>",
        b"Message-ID: <>",
        b"Resent-Message-ID: <again@client.test>",
        b"Received: from nowhere\r\nX-Long: " + b"y" * 70_000 + b"\r\nMessage-ID: <late@client.test>",
    ],
    ids=lambda header: repr(header[:50]),
)
def test_nobody_escapes_a_report_by_the_message_id(office: Office, header: bytes) -> None:
    message = b"Subject: a secret\r\n" + header + b"\r\n\r\nHello.\r\n"
    office.scene.postfix.send("joe@client.test", ["bob@example.test"], message)
    journal = office.report()
    assert (journal.subject, journal.recipients) == ("a secret", ("Recipient: bob@example.test",))


def test_a_message_of_sendmail(office: Office) -> None:
    office.scene.postfix.sendmail(
        ANN, ["bob@example.test"], b"From: Ann <ann@example.test>\nTo: bob@example.test\n\nHi.\n"
    )
    journal = office.report()
    assert (journal.sender, journal.recipients) == (ANN, ("Recipient: bob@example.test",))
    wait_until(lambda: office.metric("ldapmilter_relay_accepted_total") >= 3, "the metrics to tell of it")
    assert (office.metric("ldapmilter_relay_up"), office.metric("ldapmilter_relay_keeps")) == (1, 0)


def test_a_refused_copy_is_kept_and_sent_again(office: Office) -> None:
    office.archive.answers["rcpt"] = f"550 5.1.1 no {VAULT} here"
    mailed = office.scene.submit(ANN, ["dan@example.test"])
    wait_until(lambda: office.kept() == 1, "the copy to be kept")
    shown = office.scene.daemon.cli("copies")
    assert shown.returncode == 1
    assert "kept" in shown.stdout
    assert VAULT not in shown.stdout
    assert f"550 5.1.1 no {VAULT} here" in office.scene.daemon.cli("copies", "--addresses").stdout
    monitored = office.scene.daemon.cli("copies", "--nagios")
    assert (monitored.returncode, monitored.stdout.split(" - ")[0]) == (2, "LDAPMILTER CRITICAL")
    wait_until(lambda: office.metric("ldapmilter_relay_keeps") == 1, "the metrics to say it")
    wait_until(lambda: "1 copy is kept" in office.scene.daemon.cli("status").stdout, "status to say it")

    again = office.scene.daemon.cli("copies", "--resend")
    assert (again.returncode, "unchanged 550" in again.stdout) == (1, True)
    office.archive.answers.clear()
    again = office.scene.daemon.cli("copies", "--resend")
    assert (again.returncode, "resent 250" in again.stdout) == (0, True), again.stdout + again.stderr
    assert office.report().message_id == f"<{mailed.token}@client.test>"
    assert office.copies()["counts"]["kept"] == 0
    told = office.scene.daemon.cli("audit", "find", "--message-id", f"{mailed.token}@client.test").stdout
    assert told.index("fate: REFUSED, and kept") < told.index("fate: sent again, and accepted")


def test_the_table_that_takes_recipients_out_of_received(tmp_path: Path) -> None:
    page = Path(__file__).parents[2] / "docs" / "blind-spots.md"
    (rule,) = re.findall(r"^ *(/\^\(Received:.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    table = tmp_path / "table"
    table.write_text(f"{rule}\n", encoding="ascii")
    received = "Received: from a (a [192.0.2.1])\n\tby mx (Postfix) with ESMTP id 4X\n\tfor <joe@client.test>; Mon"
    header = f"{received}\nReceived: from b by c; Mon\nSubject: for <x@client.test>\n\n"
    command = ["/usr/sbin/postmap", "-hmq", "-", f"regexp:{table}"]
    done = subprocess.run(command, check=False, input=header, capture_output=True, text=True, timeout=HANG)
    without = received.replace("\n\tfor <joe@client.test>", "")
    assert done.stdout == f"{received}\tREPLACE {without}\n"


def test_who_gives_up_what_is_not_there(office: Office) -> None:
    done = office.scene.daemon.cli("copies", "--discard", "0" * 48, "--why", "never seen")
    assert (done.returncode, "unchanged: no such copy" in done.stdout) == (1, True), done.stdout + done.stderr


def test_a_message_of_the_web_client(office: Office) -> None:
    """A mailbox server hands it in: nobody logs in, and the header says who was in To and Cc."""
    daemon = office.scene.daemon
    daemon.configure({"identity": {"mailbox_hosts": "127.0.0.0/8"}})
    before = daemon.log().count("configuration reloaded")
    os.kill(daemon.pid, signal.SIGHUP)
    wait_until(lambda: daemon.log().count("configuration reloaded") > before, "the reload")
    header = "From: Ann <ann@example.test>\nTo: All <all@example.test>\nCc: c@example.test"
    office.scene.mail(ANN, ["all@example.test", "c@example.test", "dan@example.test"], header=header)
    journal = office.report()
    assert (journal.sender, journal.on_behalf_of) == (ANN, None)
    assert journal.recipients == (
        "To: carl@example.test, Expanded: all@example.test",
        "To: kim@outside.test, Expanded: all@example.test",
        "To: carl@home.test, Expanded: all@example.test",
        "Cc: c@example.test",
        "Bcc: dan@example.test",
    )
