"""What ``ldapmilter probe`` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pytest

from ldapmilter.cli.probe import _text

if TYPE_CHECKING:
    from ldapmilter.mta.probe import ProbeReport


@pytest.mark.parametrize(("verdict", "told"), [("tempfail", True), ("accept", False), ("reject", False)])
def test_why_a_message_has_to_wait_is_asked_of_explain(
    verdict: Literal["tempfail", "accept", "reject"], *, told: bool
) -> None:
    report: ProbeReport = {
        "verdict": verdict,
        "smtp_reply": None,
        "from_before": [],
        "from_after": [],
        "headers": [],
        "envelope_sender": None,
        "copies": [],
        "replaced": [],
        "seconds": 0.001,
    }
    assert ("explain --live, with the same options, says why" in _text(report)) == told
