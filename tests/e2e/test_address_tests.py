"""`sendmail -bv` on the MTA: the copy is made as of any message, and the audit tells such a test apart."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.e2e.company import CARL_ARCHIVE, CARL_HOLD
from tests.e2e.scene import Scene
from tests.support import audit_lines
from tests.support.ports import HANG

if TYPE_CHECKING:
    from collections.abc import Iterator

CARL: Final = "carl@example.test"
WHO: Final = "jane@example.test"


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Scene({"main": {}}) as running:
        yield running


def records(scene: Scene) -> list[dict[str, Any]]:
    return audit_lines.records(scene.daemon.directory / "audit.jsonl")


def sendmail(scene: Scene, *options: str, message: bytes = b"") -> dict[str, Any]:
    """Run sendmail(1) and return the record of what came of it."""
    before = len(records(scene))
    command = ["/usr/sbin/sendmail", "-C", str(scene.postfix.config_directory), "-f", WHO, *options, CARL]
    subprocess.run(command, input=message, check=True, capture_output=True, timeout=HANG)
    scene.postfix.queue_idle(60)
    (record,) = records(scene)[before:]
    assert {copy["address"] for copy in record["copies"]} == {CARL_ARCHIVE, CARL_HOLD}
    return record


def test_a_test_of_an_address_is_marked(scene: Scene) -> None:
    record = sendmail(scene, "-bv")
    assert record["address_test"] is True
    assert scene.postfix.messages(CARL) == []
    report = scene.postfix.wait_delivered(WHO)[-1]
    assert CARL_HOLD.encode() in report  # what docs/blind-spots.md says, and why check looks
    found = scene.daemon.cli("audit", "find", "--queue-id", record["queue_id"]).stdout
    assert "TEST        perhaps" in found


@pytest.mark.parametrize("options", [(), ("-v",)], ids=["a message", "a message that is traced"])
def test_a_message_is_none(scene: Scene, options: tuple[str, ...]) -> None:
    assert sendmail(scene, *options, message=b"Subject: probe of the minutes\n\nHello.\n")["address_test"] is False


def test_who_writes_the_header_of_a_test_does_not_escape(scene: Scene) -> None:
    before = len(scene.postfix.messages(CARL_HOLD))
    assert sendmail(scene, message=b"Subject: probe\n\nNot a test.\n")["address_test"] is True
    assert len(scene.postfix.messages(CARL_HOLD)) == before + 1


def test_nobody_else_is_taken_for_one(scene: Scene) -> None:
    before = len(records(scene))
    scene.submit(WHO, [CARL], header=f"From: {WHO}\nSubject: probe")
    (record,) = records(scene)[before:]
    assert record["address_test"] is False
