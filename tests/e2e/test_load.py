"""Many connections at the same time: every message gets its own policy, and none is lost."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.e2e.company import CARL_ARCHIVE, CARL_HOLD, JOE, LEGAL_FROM
from tests.e2e.scene import Scene
from tests.support.ports import HANG, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

KIM = "kim@example.test"
CONNECTIONS = 20
MESSAGES = 10


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Scene({"main": {}}) as running:
        yield running


def test_twenty_connections_with_ten_messages_each(scene: Scene) -> None:
    def one_connection(number: int) -> list[tuple[str, bool]]:
        handed_in = []
        with scene.session(KIM) as smtp:
            for turn in range(MESSAGES):
                with_policy = (number + turn) % 2 == 0
                token, message = scene.compose(KIM)
                recipients = [JOE, "carl@example.test"] if with_policy else ["bob@example.test"]
                reply = smtp.message(KIM, recipients, message)
                assert reply.code == 250, reply
                handed_in.append((token, with_policy))
            assert smtp.command("QUIT").code == 221
        return handed_in

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        handed_in = [one for batch in pool.map(one_connection, range(CONNECTIONS), timeout=2 * HANG) for one in batch]
    assert len(handed_in) == CONNECTIONS * MESSAGES
    scene.postfix.queue_idle(2 * HANG)  # eight hundred deliveries
    everything = {mailbox: scene.postfix.messages(mailbox) for mailbox in scene.postfix.recipients()}
    with_policy = {token for token, policy in handed_in if policy}
    without = {token for token, policy in handed_in if not policy}
    expected = {
        JOE: with_policy,
        "carl@example.test": with_policy,
        CARL_ARCHIVE: with_policy,
        CARL_HOLD: with_policy,
        "bob@example.test": without,
    }
    assert set(everything) == set(expected)
    for mailbox, tokens in expected.items():
        raws = everything[mailbox]
        assert len(raws) == len(tokens)
        for raw in raws:
            (token,) = (token for token in tokens if token.encode() in raw)
            wanted = LEGAL_FROM if token in with_policy else f"<{KIM}>"
            assert raw.count(b"\nFrom: ") == 1
            assert f"\nFrom: {wanted}\n".encode() in raw
    wait_until(lambda: len(scene.daemon.log_lines(" verdict=accept ")) >= len(with_policy), "a line for each")
    assert "Traceback" not in scene.daemon.log()
    assert scene.daemon.stop() == 0  # nothing was left in flight


def test_a_cold_cache_asks_once_however_many_wait() -> None:
    with Scene({"main": {}}) as scene:

        def one(_number: int) -> bool:
            return scene.mail(KIM, ["carl@example.test"], login=KIM).sent.accepted

        with ThreadPoolExecutor(16) as pool:
            assert all(pool.map(one, range(16), timeout=HANG))
        scene.postfix.queue_idle()
        assert len(scene.postfix.messages(CARL_HOLD)) == 16
        searches = scene.slapd.searches(scene.slapd.bind_dn)
        again = scene.mail(KIM, ["carl@example.test"], login=KIM)
        assert again.sent.accepted
        # Each worker process has a cache of its own, and fills it with a handful of searches.
        assert scene.slapd.searches(scene.slapd.bind_dn) - searches <= 8
        assert searches <= 8 * 4
