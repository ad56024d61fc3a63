"""The directory fails: mail waits no longer than it may, and goes on by itself afterwards."""

from __future__ import annotations

from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING

import pytest

from ldapmilter.mta.client import MilterClient
from ldapmilter.mta.transaction import Transaction, Verdict
from ldapmilter.socket_address import parse_socket
from tests.e2e.company import ARCHIVE, CARL_ARCHIVE, CARL_HOLD, HOLD, JOE, LEGAL_FROM
from tests.e2e.scene import Scene
from tests.support.names import account_dn
from tests.support.ports import HANG, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from tests.support.daemon import Daemon

ANN = "ann@example.test"
_LDAP = {"lookup_deadline": "6", "connect_timeout": "1"}
OPTIONS = {
    "strict": {"ldap": _LDAP},
    "lenient": {"ldap": _LDAP, "policy": {"directory_failure": "accept"}},
    # Nothing is fresh for longer than a moment: every message asks again.
    "forgetful": {"ldap": _LDAP, "cache": {"ttl": "0"}},
}
STRANGERS = count()
NOBODIES = count()


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Scene(OPTIONS) as running:
        yield running
        for daemon in running.daemons.values():
            assert "Traceback" not in daemon.log()


@contextmanager
def stopped(scene: Scene, *heal: str) -> Iterator[None]:
    """Stop the directory for a while; wait afterwards until the named daemons have noticed its return."""
    scene.slapd.stop()
    try:
        yield
    finally:
        scene.slapd.start()
        for name in heal:
            healed(scene.daemons[name])


@contextmanager
def suspended(scene: Scene, *heal: str) -> Iterator[None]:
    """Freeze the directory for a while."""
    scene.slapd.suspend()
    try:
        yield
    finally:
        scene.slapd.resume()
        for name in heal:
            healed(scene.daemons[name])


def healed(daemon: Daemon) -> None:
    """Wait until the daemon asks the directory again: about addresses that nobody has asked for."""

    def goes_on() -> bool:
        number = next(NOBODIES)
        recipients = [f"heal-{number}@example.test"]
        message = Transaction(sender=ANN, login=ANN, recipients=recipients, queue_id=f"4Heals{number}Z")
        with MilterClient.connect(parse_socket(daemon.socket), HANG) as client:
            reply = client.run(message)
        return reply.verdict is Verdict.ACCEPT and "incomplete=" not in daemon.said(message.queue_id)[-1]

    wait_until(goes_on, "the directory's return to be noticed", pause=0.2)


def waits(scene: Scene, author: str, recipient: str, through: str) -> None:
    """Expect 451 of ours: Postfix would say another when it gives us up."""
    mailed = scene.mail(author, [recipient], login=author, through=through)
    assert (mailed.sent.stage, mailed.sent.code, mailed.sent.text[:5]) == ("data", 451, "4.3.0"), mailed.sent
    assert scene.counts(mailed.token) == {}


def test_before_anything_is_known(scene: Scene) -> None:
    """A daemon whose directory never answered starts, holds mail up, and goes on when it answers."""
    daemon = scene.daemons["strict"]
    with stopped(scene, "strict"):
        daemon.stop()
        daemon.start()
        waits(scene, ANN, "bob@example.test", "strict")
    mailed = scene.submit(ANN, [JOE], through="strict")
    assert set(scene.delivered(mailed.token)) == {JOE, ARCHIVE, HOLD}


def test_the_directory_stops_and_comes_back(scene: Scene) -> None:
    scene.submit(ANN, ["bob@example.test"], through="strict")
    stranger = f"many-{next(STRANGERS)}@example.test"
    process = scene.daemons["strict"].pid
    with stopped(scene, "strict"):
        waits(scene, stranger, "bob@example.test", "strict")
        waits(scene, ANN, f"many-{next(STRANGERS)}@example.test", "strict")
        cached = scene.submit(ANN, ["bob@example.test"], through="strict")
    mailed = scene.submit(stranger, ["bob@example.test"], through="strict")
    assert scene.counts(mailed.token) == {"bob@example.test": 1}
    assert set(scene.delivered(cached.token)) == {"bob@example.test", ARCHIVE, HOLD}
    assert scene.daemons["strict"].pid == process


def test_the_directory_hangs_and_goes_on(scene: Scene) -> None:
    stranger = f"many-{next(STRANGERS)}@example.test"
    with suspended(scene, "strict"):
        waits(scene, stranger, "bob@example.test", "strict")
    mailed = scene.submit(stranger, ["bob@example.test"], through="strict")
    assert scene.counts(mailed.token) == {"bob@example.test": 1}


@pytest.mark.parametrize("fails", [stopped, suspended])
def test_the_next_message_after_the_directorys_return_goes_through(
    scene: Scene, fails: Callable[[Scene], AbstractContextManager[None]]
) -> None:
    strangers = [f"many-{next(STRANGERS)}@example.test" for _ in range(2)]
    try:
        with fails(scene):
            waits(scene, strangers[0], "bob@example.test", "strict")
        scene.submit(strangers[1], ["bob@example.test"], through="strict")
    finally:
        healed(scene.daemons["strict"])


def test_outsiders_wait_too(scene: Scene) -> None:
    """Whether the recipient is under a legal hold cannot be known."""
    recipient = f"many-{next(STRANGERS)}@example.test"
    with stopped(scene, "strict"):
        mailed = scene.mail("x@outside.test", [recipient], through="strict")
        assert mailed.sent.code == 451
    assert scene.mail("x@outside.test", [recipient], through="strict").sent.accepted


@pytest.mark.parametrize("fails", [stopped, suspended])
def test_accept_lets_mail_pass_and_says_that_policy_was_not_applied(
    scene: Scene, fails: Callable[[Scene, str], AbstractContextManager[None]]
) -> None:
    stranger = f"many-{next(STRANGERS)}@example.test"
    with fails(scene, "lenient"):
        mailed = scene.submit(stranger, [JOE], through="lenient")
    assert scene.counts(mailed.token) == {JOE: 1}
    (line,) = scene.daemons["lenient"].said(mailed.sent.queue_id)
    assert "incomplete=" in line


def test_accept_applies_what_is_known(scene: Scene) -> None:
    known = scene.submit(ANN, ["carl@example.test"], through="lenient")
    copied = {"carl@example.test", ARCHIVE, HOLD, CARL_ARCHIVE, CARL_HOLD}
    assert set(scene.delivered(known.token)) == copied
    stranger = f"many-{next(STRANGERS)}@example.test"
    with stopped(scene, "lenient"):
        mailed = scene.submit(ANN, [stranger, "carl@example.test"], through="lenient")
    assert set(scene.delivered(mailed.token)) == {stranger, *copied}
    (line,) = scene.daemons["lenient"].said(mailed.sent.queue_id)
    assert "incomplete=" in line


def test_what_is_stale_still_decides(scene: Scene) -> None:
    scene.submit(ANN, [JOE, "bob@example.test"], through="forgetful")
    with stopped(scene, "forgetful"):
        mailed = scene.submit(ANN, [JOE, "bob@example.test"], through="forgetful")
    delivered = scene.delivered(mailed.token)
    assert set(delivered) == {JOE, "bob@example.test", ARCHIVE, HOLD}
    assert delivered[JOE][0].froms == [LEGAL_FROM.encode()]
    (line,) = scene.daemons["forgetful"].said(mailed.sent.queue_id)
    assert "stale" in line


def test_no_such_entry_is_never_stale(scene: Scene) -> None:
    scene.submit(ANN, ["nosuchuser@example.test"], through="forgetful")
    with stopped(scene, "forgetful"):
        waits(scene, ANN, "nosuchuser@example.test", "forgetful")


def test_a_change_in_the_directory_acts_without_restart(scene: Scene) -> None:
    dn = account_dn("jane@example.test")
    jane = "jane@example.test"
    before = scene.submit(jane, ["bob@example.test"], through="forgetful")
    assert scene.counts(before.token) == {"bob@example.test": 1}
    scene.slapd.modify(
        f"dn: {dn}\nchangetype: modify\nadd: objectClass\nobjectClass: ldapMilterPolicy\n-\n"
        "add: ldapMilterArchiveBcc\nldapMilterArchiveBcc: late@keep.test\n"
    )
    mailed = scene.submit(jane, ["bob@example.test"], through="forgetful")
    assert scene.counts(mailed.token) == {"bob@example.test": 1, "late@keep.test": 1}


def test_explain_without_a_directory(scene: Scene) -> None:
    daemon = scene.daemons["strict"]
    with stopped(scene, "strict"):
        told = daemon.explain("--auth", ANN, "--rcpt", "bob@example.test")
        text = daemon.cli("explain", "--auth", ANN, "--rcpt", "bob@example.test")
    assert told["exit_status"] == text.returncode == 3
    assert "Traceback" not in told["stderr"] + text.stderr
    assert "unavailable" in text.stdout + text.stderr


def test_a_wrong_password_for_the_directory_holds_mail_up_and_never_says_it(scene: Scene) -> None:
    daemon = scene.daemons["strict"]
    secret = daemon.directory / "ldap.secret"
    right = secret.read_text(encoding="utf-8")
    daemon.stop()
    secret.write_text("wrong-one\n", encoding="utf-8")
    try:
        daemon.start()
        waits(scene, ANN, "bob@example.test", "strict")
    finally:
        secret.write_text(right, encoding="utf-8")
    mailed = scene.submit(ANN, ["bob@example.test"], through="strict")  # a rotated password needs no restart
    assert set(scene.delivered(mailed.token)) == {"bob@example.test", ARCHIVE, HOLD}
    assert "wrong-one" not in daemon.log()
    assert right.strip() not in daemon.log()
