"""Mail keeps flowing while the directory dies, hangs and is replaced: nothing is lost, nothing half done.

Eight clients hand in messages of people with policy and without, through a real Postfix.  Whatever
was taken is delivered with exactly the copies that it must have, once; whatever was not taken was
answered in time, by 4xx, left nothing behind, and passes afterwards.
"""

from __future__ import annotations

import itertools
import random
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.e2e.company import ARCHIVE, CARL_ARCHIVE, CARL_HOLD, HOLD, JOE
from tests.e2e.scene import Scene
from tests.support.ports import HANG, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DEADLINE = 4.0
CLIENTS = 8
TAKEN = range(200, 300)
LATER = range(400, 500)

ANN, BOB, CARL, JANE, KIM = (f"{name}@example.test" for name in ("ann", "bob", "carl", "jane", "kim"))


@dataclass(frozen=True)
class Kind:
    """What is sent, and which mailboxes it must reach."""

    author: str
    recipients: tuple[str, ...]
    copies: frozenset[str] = frozenset()
    logged_in: bool = True

    @property
    def mailboxes(self) -> dict[str, int]:
        return dict.fromkeys([*self.recipients, *self.copies], 1)


KINDS = (
    Kind(ANN, (BOB,), frozenset({ARCHIVE, HOLD})),
    Kind(ANN, (CARL, JOE), frozenset({ARCHIVE, HOLD, CARL_ARCHIVE, CARL_HOLD})),
    Kind(BOB, (JANE,)),
    Kind(JANE, (CARL,), frozenset({CARL_ARCHIVE, CARL_HOLD})),
    Kind(KIM, (JOE,)),
    Kind("x@outside.test", (BOB,), logged_in=False),
    Kind("x@outside.test", (CARL, BOB), frozenset({CARL_ARCHIVE, CARL_HOLD}), logged_in=False),
    *(Kind(f"many-{number}@example.test", (CARL,), frozenset({CARL_ARCHIVE, CARL_HOLD})) for number in range(4)),
)

_LDAP = {"lookup_deadline": f"{DEADLINE:g}", "connect_timeout": "0.5"}
OPTIONS = {
    "fresh": {"ldap": _LDAP, "cache": {"ttl": "0.5", "negative_ttl": "0.5", "stale_ttl": "0"}},
    "stale": {"ldap": _LDAP, "cache": {"ttl": "0.5", "negative_ttl": "0.5"}},
}


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Scene(OPTIONS, postfix_main={"default_process_limit": "100"}) as running:
        yield running
        for daemon in running.daemons.values():
            assert "Traceback" not in daemon.log()
            assert daemon.stop() == 0


@dataclass(frozen=True)
class Handed:
    """One message that was handed in, and the answer."""

    token: str
    kind: Kind
    code: int
    text: str
    seconds: float
    at: float


@dataclass(frozen=True)
class Traffic:
    """Clients that hand in one message after the other until they are stopped."""

    scene: Scene
    through: str
    began: float

    def one(self, kind: Kind) -> Handed:
        began = time.monotonic()
        login = kind.author if kind.logged_in else None
        mailed = self.scene.mail(kind.author, kind.recipients, login=login, through=self.through)
        seconds = time.monotonic() - began
        return Handed(mailed.token, kind, mailed.sent.code, mailed.sent.text, seconds, began - self.began)

    def until_taken(self, kind: Kind) -> Handed:
        """Hand one in again until it is taken, as a mail server does."""
        handed = [self.one(kind)]

        def taken() -> bool:
            if handed[-1].code not in TAKEN:
                handed.append(self.one(kind))
            return handed[-1].code in TAKEN

        wait_until(taken, f"{kind} is taken", pause=0.2)
        return handed[-1]

    def client(self, number: int, stop: threading.Event) -> list[Handed]:
        choice = random.Random(number)
        handed = []
        while not stop.is_set():
            handed.append(self.one(choice.choice(KINDS)))
            stop.wait(0.02)
        return handed


def wreck(scene: Scene) -> None:
    """Let the directory server fail in every way it can, one after the other."""
    time.sleep(0.7)
    scene.slapd.kill()
    time.sleep(2.0)
    scene.slapd.start()
    time.sleep(0.7)
    scene.slapd.suspend()
    time.sleep(DEADLINE + 1)
    scene.slapd.resume()
    time.sleep(0.7)
    for _ in range(3):  # replaced: nobody notices in time
        scene.slapd.stop()
        scene.slapd.start()
        time.sleep(0.2)
    scene.slapd.suspend()
    time.sleep(0.8)
    scene.slapd.kill()
    scene.slapd.start()
    time.sleep(0.7)


def delivered(scene: Scene, tokens: Sequence[str]) -> dict[str, dict[str, int]]:
    """Return, once nothing is under way any more, how often each message is in which mailbox."""
    scene.postfix.queue_idle()
    found: dict[str, dict[str, int]] = {token: {} for token in tokens}
    for mailbox in scene.postfix.recipients():
        for raw in scene.postfix.messages(mailbox):
            _, _, rest = raw.partition(b"Message-ID: <")
            token = rest.partition(b"@")[0].decode("ascii")
            if token in found:
                found[token][mailbox] = found[token].get(mailbox, 0) + 1
    return found


@pytest.mark.parametrize("through", OPTIONS)
def test_nothing_is_lost_while_the_directory_comes_and_goes(scene: Scene, through: str) -> None:
    traffic, stop = Traffic(scene, through, time.monotonic()), threading.Event()
    for kind in KINDS:
        traffic.until_taken(kind)
    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(traffic.client, number, stop) for number in range(CLIENTS)]
        try:
            wreck(scene)
        finally:
            stop.set()
        handed = list(itertools.chain.from_iterable(client.result(HANG) for client in clients))
    taken = [one for one in handed if one.code in TAKEN]
    waiting = [one for one in handed if one.code not in TAKEN]
    slowest = max(handed, key=lambda one: one.seconds)
    sys.stdout.write(
        f"\n{through}: {len(taken)} taken, {len(waiting)} deferred; slowest answer"
        f" {slowest.seconds:.2f} s ({slowest.code} at {slowest.at:.1f} s)\n"
    )
    assert len(taken) > CLIENTS
    assert [one for one in waiting if one.code not in LATER] == []
    # Ours, and so by the deadline: Postfix says another when it has waited for us in vain.
    assert [one for one in waiting if not one.text.startswith("4.3.0")] == []

    again = [traffic.until_taken(one.kind) for one in waiting]

    found = delivered(scene, [one.token for one in (*handed, *again)])
    wrong = {
        one.token: (one.kind, found[one.token]) for one in (*taken, *again) if found[one.token] != one.kind.mailboxes
    }
    assert wrong == {}
    assert {one.token: found[one.token] for one in waiting if found[one.token]} == {}
