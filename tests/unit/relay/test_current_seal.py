"""The seal that reports carry: the latest, and not looked for with each report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ldapmilter.audit.seals import Seal, seal_line
from ldapmilter.relay.current_seal import CurrentSeal
from tests.unit.directory.hand import Clock

if TYPE_CHECKING:
    from pathlib import Path


def test_the_latest_seal_of_the_audit(tmp_path: Path) -> None:
    audit, clock = tmp_path / "audit.jsonl", Clock()
    current = CurrentSeal(audit, clock)
    assert current() is None
    audit.write_bytes(seal_line(Seal(7, "a" * 64), 0, 0))
    clock.now += 4
    assert current() is None
    clock.now += 1
    assert current() == f"7:{'a' * 64}"
    with audit.open("ab") as file:
        file.write(seal_line(Seal(8, "b" * 64), 100, 100))
    assert current() == f"7:{'a' * 64}"
    clock.now += 5
    assert current() == f"8:{'b' * 64}"


def test_it_is_looked_for_once_in_a_while(tmp_path: Path) -> None:
    looked: list[Path] = []
    clock = Clock()
    current = CurrentSeal(tmp_path, clock, looked.append)
    for _ in range(50):
        assert current() is None
    assert looked == [tmp_path]
