"""Start, stop, and everything that can be wrong with the socket or the configuration."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from ldapmilter.daemon.control_client import ask
from ldapmilter.mta.client import MilterClient
from ldapmilter.mta.transaction import Transaction, Verdict
from ldapmilter.socket_address import parse_socket
from tests.e2e.company import ARCHIVE, HOLD, JOE, LEGAL_FROM, company
from tests.e2e.scene import Scene
from tests.support.daemon import Daemon
from tests.support.ports import HANG, free_port, wait_until
from tests.support.slapd import Slapd

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ANN = "ann@example.test"
MESSAGE = Transaction(
    sender=ANN,
    login=ANN,
    recipients=[JOE],
    headers=[("From", ANN), ("Subject", "minutes")],
    body=b"Hello.\n",
)


@pytest.fixture(scope="module")
def slapd() -> Iterator[Slapd]:
    with Slapd(company()) as server:
        yield server


# -- a TCP socket ---------------------------------------------------------------------------


def test_a_tcp_socket_works_the_same(slapd: Slapd) -> None:
    address = f"inet:127.0.0.1:{free_port()}"
    with Daemon(slapd, {"milter": {"socket": address}}) as daemon:
        assert daemon.said(address)
        with MilterClient.connect(parse_socket(address), HANG) as client:
            outcomes = [client.run(MESSAGE) for _ in range(3)]
        for outcome in outcomes:
            assert outcome.verdict is Verdict.ACCEPT
            assert (b"From", LEGAL_FROM.encode()) in outcome.headers_after
            assert {added.address for added in outcome.added_recipients} == {ARCHIVE, HOLD}


def test_mail_through_a_tcp_socket() -> None:
    with Scene({"tcp": {"milter": {"socket": f"inet:127.0.0.1:{free_port()}"}}}) as scene:
        mailed = scene.submit(ANN, [JOE])
        delivered = scene.delivered(mailed.token)
        assert set(delivered) == {JOE, ARCHIVE, HOLD}
        assert delivered[JOE][0].froms == [LEGAL_FROM.encode()]
        assert scene.daemon.stop() == 0


def test_the_milter_order_of_a_tcp_socket_binds_the_same(slapd: Slapd) -> None:
    port = free_port()
    with Daemon(slapd, {"milter": {"socket": f"inet:127.0.0.1:{port}"}}) as daemon:
        daemon.stop()
        daemon.configure({"milter": {"socket": f"inet:{port}@127.0.0.1"}})
        done = daemon.cli("probe", "--rcpt", JOE)
        assert done.returncode == 4  # understood, and nobody there
        assert f"127.0.0.1:{port}" in done.stderr


# -- start and stop -------------------------------------------------------------------------


def test_sigterm_while_idle(slapd: Slapd) -> None:
    with Daemon(slapd) as daemon:
        assert daemon.socket_path.is_socket()
        assert daemon.stop() == 0
        assert not daemon.socket_path.exists()
        hidden = {path.name for path in daemon.directory.iterdir() if path.name.startswith(".")}
        assert hidden <= {".audit.jsonl.lock", ".audit.jsonl.sealer"}  # locks stay: who waits for one has it open


_SIGNALLED_WHILE_BINDING = """
import os, signal
from ldapmilter.cli import main
from ldapmilter.daemon import parent

def listen(settings, really=parent.listen):
    listener = really(settings)
    os.kill(os.getpid(), signal.SIGHUP)
    os.kill(os.getpid(), signal.SIGTERM)
    return listener

parent.listen = listen
main.entry_point()
"""


def test_signals_that_come_as_soon_as_the_socket_is_there(slapd: Slapd) -> None:
    daemon = Daemon(slapd)
    try:
        command = [sys.executable, "-c", _SIGNALLED_WHILE_BINDING, "--config", str(daemon.config), "run"]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=HANG)
        assert done.returncode == 0, done.stderr
        assert done.stderr.endswith("stopped\n")
        assert not daemon.socket_path.exists()
    finally:
        daemon.close()


def test_sigterm_with_idle_sessions_and_one_in_mid_message_that_was_given_up(slapd: Slapd) -> None:
    with Daemon(slapd) as daemon:
        address = parse_socket(daemon.socket)
        with MilterClient.connect(address, HANG) as idle, MilterClient.connect(address, HANG) as lost:
            assert idle.run(MESSAGE).verdict is Verdict.ACCEPT
            assert lost.run(MESSAGE).verdict is Verdict.ACCEPT
            assert daemon.stop() == 0


def test_sigterm_lets_a_message_in_flight_finish() -> None:
    """The directory hangs, a message waits for it, SIGTERM comes: the message gets its answer."""
    options = {"ldap": {"lookup_deadline": "8", "connect_timeout": "8"}}
    with Scene({"main": options}) as scene:
        scene.submit(ANN, ["bob@example.test"])
        scene.slapd.suspend()
        try:
            with scene.session("many-1@example.test") as smtp:
                assert smtp.command("MAIL FROM:<many-1@example.test>").code == 250
                assert smtp.command("RCPT TO:<many-2@example.test>").code == 250
                smtp.write(b"DATA\r\n")
                wait_until(lambda: in_flight(scene.daemon) == 1, "the message to be waiting")
                assert scene.daemon.stop() == 0
                reply = smtp.reply()
                assert (reply.code, reply.text[:5]) == (451, "4.3.0")
        finally:
            scene.slapd.resume()


def in_flight(daemon: Daemon) -> int:
    """Return how many messages wait for a decision; asked without a process of its own, they do not wait long."""
    workers = ask(str(daemon.directory / "control.sock"), {"verb": "status"}, HANG)["workers"]
    return sum(worker["in_flight"] for worker in workers)


def test_a_stale_socket_is_replaced_and_a_restart_works(slapd: Slapd) -> None:
    with Daemon(slapd) as daemon:
        daemon.kill()
        assert daemon.socket_path.is_socket()
        for _ in range(3):
            daemon.start()
            with MilterClient.connect(parse_socket(daemon.socket), HANG) as client:
                assert client.run(MESSAGE).verdict is Verdict.ACCEPT
            assert daemon.stop() == 0
            assert not daemon.socket_path.exists()


def test_postfix_finds_a_restarted_daemon_again() -> None:
    with Scene({"main": {}}) as scene:
        for _ in range(2):
            mailed = scene.submit(ANN, [JOE])
            assert set(scene.delivered(mailed.token)) == {JOE, ARCHIVE, HOLD}
            assert scene.daemon.stop() == 0
            assert scene.mail(ANN, [JOE], login=ANN).sent.code in (421, 451, 454)  # no daemon, no mail
            scene.daemon.start()


@pytest.mark.parametrize("version", ["2", "3", "4", "6"])
def test_no_version_of_the_protocol_lets_mail_pass_undecided(version: str) -> None:
    with Scene({"main": {}}, postfix_main={"milter_protocol": version}) as scene:
        mailed = scene.mail(ANN, [JOE], login=ANN)
        expected = {JOE, ARCHIVE, HOLD} if mailed.sent.accepted else set()
        assert set(scene.delivered(mailed.token)) == expected
        if version == "6":
            assert mailed.sent.accepted


@pytest.mark.parametrize("mode", ["0600", "0660", "0666"])
def test_the_sockets_mode_and_group(slapd: Slapd, mode: str) -> None:
    with Daemon(slapd, {"milter": {"socket_mode": mode, "socket_group": "postfix"}}) as daemon:
        status = daemon.socket_path.stat()
        assert stat.S_IMODE(status.st_mode) == int(mode, 8)
        assert daemon.socket_path.group() == "postfix"
        # A socket's backlog is no connection: wait for nothing, just see that it is served.
        assert daemon.probe("--rcpt", "x@elsewhere.test")["exit_status"] == 0


# -- what is refused ------------------------------------------------------------------------


def refused(daemon: Daemon, status: int, *words: str) -> str:
    """Expect `run` to end at once with one line that holds all the words."""
    done = daemon.cli("run")
    assert done.returncode == status, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("ldapmilter: ")
    for word in words:
        assert word in line
    assert done.stdout == ""
    return line


def test_a_unix_socket_that_is_taken(slapd: Slapd) -> None:
    with Daemon(slapd) as first:
        second = Daemon(slapd, {"milter": {"socket": first.socket}})
        refused(second, 1, str(first.socket_path))
        assert first.listens()
        with MilterClient.connect(parse_socket(first.socket), HANG) as client:
            assert client.run(MESSAGE).verdict is Verdict.ACCEPT
        second.close()


def test_a_tcp_socket_that_is_taken(slapd: Slapd) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        daemon = Daemon(slapd, {"milter": {"socket": f"inet:127.0.0.1:{port}"}})
        refused(daemon, 1, f"127.0.0.1:{port}")
        daemon.close()


def test_a_path_that_is_a_regular_file(slapd: Slapd) -> None:
    daemon = Daemon(slapd)
    daemon.socket_path.write_text("precious", encoding="ascii")
    refused(daemon, 1, str(daemon.socket_path))
    assert daemon.socket_path.read_text(encoding="ascii") == "precious"
    daemon.close()


def test_a_symbolic_link_is_not_followed(slapd: Slapd) -> None:
    daemon = Daemon(slapd)
    target = daemon.directory / "elsewhere"
    target.write_text("precious", encoding="ascii")
    daemon.socket_path.symlink_to(target)
    refused(daemon, 1, str(daemon.socket_path))
    assert target.read_text(encoding="ascii") == "precious"
    daemon.close()


def test_a_directory_that_is_missing(slapd: Slapd) -> None:
    daemon = Daemon(slapd)
    daemon.configure({"milter": {"socket": f"unix:{daemon.directory}/missing/milter.sock"}})
    refused(daemon, 1, f"{daemon.directory}/missing")
    daemon.close()


def test_a_group_that_is_missing(slapd: Slapd) -> None:
    daemon = Daemon(slapd, {"milter": {"socket_group": "nosuchgroup"}})
    refused(daemon, 1, "socket_group", "nosuchgroup")
    assert not daemon.socket_path.exists()
    daemon.close()


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"policy": {"mode": "aply"}}, ["[policy]", "mode", "aply", "apply"]),
        ({"policy": {"mod": "apply"}}, ["[policy]", "mod ", "mode"]),
        ({"polices": {"mode": "apply"}}, ["[polices]", "[policy]"]),
        ({"ldap": {"uri": ""}}, ["[ldap]", "uri"]),
        ({"ldap": {"uri": "http://ldap"}}, ["[ldap]", "http://ldap", "ldaps://"]),
        ({"ldap": {"lookup_deadline": "soon"}}, ["[ldap]", "lookup_deadline", "soon"]),
        ({"ldap": {"ca_file": "/nonexistent/ca.pem"}}, ["ca_file", "/nonexistent/ca.pem"]),
        ({"ldap": {"bind_password_file": "/nonexistent/secret"}}, ["bind_password_file", "/nonexistent/secret"]),
        ({"milter": {"socket": "inet:8800"}}, ["[milter]", "socket", "inet:8800"]),
        ({"milter": {"socket": "unix:relative"}}, ["[milter]", "socket", "absolute"]),
        ({"milter": {"socket_mode": "rw"}}, ["[milter]", "socket_mode", "rw", "octal"]),
        ({"copy archive": {"inherit": "both"}}, ["[copy archive]", "inherit", "both", "override", "union"]),
        ({"copy archive": {"sent_attributes": "a b=c"}}, ["[copy archive]", "sent_attributes"]),
        ({"identity": {"mailbox_hosts": "10.0.0.0/33"}}, ["[identity]", "mailbox_hosts", "10.0.0.0/33"]),
    ],
)
def test_a_bad_configuration(slapd: Slapd, sections: Mapping[str, Mapping[str, str]], words: list[str]) -> None:
    daemon = Daemon(slapd, sections)
    line = refused(daemon, 2, *words)
    # A CA file is named with its section; so is everything that the file itself is to blame for.
    if "ca_file" not in line:
        assert str(daemon.config) in line
    for verb in ("explain", "probe"):
        if verb == "probe" and ("ca_file" in line or "bind_password_file" in line):
            continue  # the probe needs no directory, and binds to none
        done = daemon.cli(verb, "--rcpt", "bob@example.test")
        assert (done.returncode, done.stderr, done.stdout) == (2, line + "\n", "")
    daemon.close()


def test_a_configuration_that_is_missing_or_broken(slapd: Slapd) -> None:
    daemon = Daemon(slapd)
    for content in (b"no section\n", b"[ldap\n", b"[ldap]\nuri = ldap://a\nuri = ldap://b\n", b"\xff\xfe", b"", None):
        if content is None:
            daemon.config.unlink()
        else:
            daemon.config.write_bytes(content)
        refused(daemon, 2, str(daemon.config))
    daemon.close()


@pytest.mark.parametrize(("mode", "content"), [(0o604, "milter-secret"), (0o600, ""), (0o646, "x")])
def test_a_secret_that_cannot_be_used(slapd: Slapd, mode: int, content: str) -> None:
    daemon = Daemon(slapd)
    secret = daemon.directory / "ldap.secret"
    secret.write_text(content, encoding="ascii")
    secret.chmod(mode)
    line = refused(daemon, 2, str(secret))
    assert "milter-secret" not in line
    daemon.close()


def test_a_secret_that_the_group_may_read_is_fine(slapd: Slapd) -> None:
    daemon = Daemon(slapd)
    (daemon.directory / "ldap.secret").chmod(0o640)
    assert daemon.explain("--auth", ANN, "--rcpt", JOE)["exit_status"] == 0
    daemon.close()


def test_a_secret_that_may_not_be_read(slapd: Slapd) -> None:
    """Root may read everything, so the secret is a directory."""
    daemon = Daemon(slapd)
    (daemon.directory / "ldap.secret").unlink()
    (daemon.directory / "ldap.secret").mkdir(mode=0o700)
    refused(daemon, 2, "ldap.secret")
    daemon.close()


# -- the command line -----------------------------------------------------------------------


def test_probe_without_a_daemon(slapd: Slapd) -> None:
    daemon = Daemon(slapd)
    done = daemon.cli("probe", "--rcpt", "bob@example.test")
    assert done.returncode == 4
    (line,) = done.stderr.splitlines()
    assert str(daemon.socket_path) in line
    assert done.stdout == ""
    daemon.close()


def test_probe_of_something_that_is_no_milter(slapd: Slapd) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        daemon = Daemon(slapd, {"milter": {"socket": f"inet:127.0.0.1:{silent.getsockname()[1]}"}})
        done = daemon.cli("probe", "--timeout", "1", "--rcpt", "bob@example.test")
        assert done.returncode == 4
        assert len(done.stderr.splitlines()) == 1
        daemon.close()


@pytest.mark.parametrize(
    "arguments",
    [
        ["explain", "--rcpt", "bob@example.test", "--nonsense"],
        ["explain"],
        ["explain", "--rcpt", "bob@example.test", "--client", "not-an-ip"],
        ["explain", "--rcpt", "bob@example.test", "--from", "a", "--message", "b"],
        ["explain", "--rcpt", "bob@example.test", "--message", "/nonexistent/message"],
        ["explain", "--rcpt", "bob@example.test\r\nDATA"],
        ["probe", "--rcp", "bob@example.test"],
        ["nonsense"],
        ["--nonsense", "run"],
        [],
    ],
)
def test_wrong_usage(slapd: Slapd, arguments: list[str]) -> None:
    daemon = Daemon(slapd)
    done = daemon.cli(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr
    assert done.stdout == ""
    daemon.close()


def test_explain_for_people(slapd: Slapd) -> None:
    daemon = Daemon(slapd)
    message = daemon.directory / "message.eml"
    message.write_bytes(b"From: caf\xe9 <ann@example.test>\r\nSubject: x\r\n\r\nHello.\r\n")
    done = daemon.cli("explain", "--auth", ANN, "--rcpt", JOE, "bob@example.test", "--message", str(message))
    assert (done.returncode, done.stderr) == (0, "")
    for word in (LEGAL_FROM, ARCHIVE, HOLD, "cn=sales,cn=cos,cn=zimbra", "ldapMilterLegalBcc", "accept"):
        assert word in done.stdout
    daemon.close()


def test_a_value_with_an_option_is_no_policy_and_told_everywhere(slapd: Slapd) -> None:
    dn, name, tagged = "uid=ann,ou=people,dc=example,dc=test", "ldapMilterArchiveBcc;lang-en", "tagged@keep.test"
    slapd.modify(f"dn: {dn}\nchangetype: modify\nadd: {name}\n{name}: {tagged}\n")
    try:
        with Daemon(slapd) as daemon:
            told = daemon.explain("--auth", ANN, "--rcpt", JOE)
            warning = f"ldapMilterArchiveBcc at {dn} has values with an option (;lang-en), which are never used"
            assert told["warnings"] == [warning]
            assert tagged not in {copy["address"] for copy in told["copies"]}
            with MilterClient.connect(parse_socket(daemon.socket), HANG) as client:
                assert tagged not in {added.address for added in client.run(MESSAGE).added_recipients}
            assert daemon.said("warning=", "has values with an option")
            checked = daemon.cli("check", "--directory").stdout
            assert f"{name}: {tagged} at {dn} [value-with-option]" in checked
    finally:
        slapd.modify(f"dn: {dn}\nchangetype: modify\ndelete: {name}\n")


def test_explain_of_mail_that_waits(slapd: Slapd) -> None:
    daemon = Daemon(slapd)
    told = daemon.explain("--auth", "erin@example.test", "--rcpt", "bob@example.test")
    assert (told["exit_status"], told["verdict"], told["smtp_reply"][:9]) == (1, "tempfail", "451 4.3.0")
    # Whoever runs explain may know.
    assert any("no-at-sign-either" in warning for warning in told["warnings"])
    daemon.close()


def test_help_and_version(slapd: Slapd) -> None:
    daemon = Daemon(slapd)
    assert daemon.cli("--version").stdout.startswith("ldapmilter ")
    for verb in ("run", "explain", "probe"):
        assert verb in daemon.cli("--help").stdout
        assert daemon.cli(verb, "--help").returncode == 0
    daemon.close()


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", [("explain", "--auth", ANN, "--rcpt", JOE), ("--help",)], ids=["explain", "help"])
def test_a_reader_that_goes_away(slapd: Slapd, arguments: tuple[str, ...], unbuffered: str) -> None:
    """`ldapmilter explain ... | head -0` ends without a traceback."""
    daemon = Daemon(slapd, environment={"PYTHONUNBUFFERED": unbuffered})
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = daemon.cli_to(writing, *arguments)
    finally:
        os.close(writing)
    assert done.stderr == ""
    assert done.returncode in (0, 1)  # argparse takes no notice of a reader that is gone
    daemon.close()
