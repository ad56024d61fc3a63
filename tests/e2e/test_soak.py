"""The soak that scripts/soak runs for as long as one likes, just long enough for one outage."""

from __future__ import annotations

import sys

from tests.soak.run import Soak

SEED = 130
"""Begins with an outage of five seconds: longer than a message waits."""


def test_a_short_soak() -> None:
    outcome = Soak(seconds=10, seed=SEED, members=200).run()
    sys.stdout.write("".join(f"{name}: {value}\n" for name, value in outcome.table.items()))
    assert outcome.findings == []
    assert "1 hang" in outcome.table["trouble"]
    assert "4.3.0" in outcome.table["answers 4xx"]
    assert int(outcome.table["taken"]) > 20
    assert outcome.table["still waiting"] == "0"
