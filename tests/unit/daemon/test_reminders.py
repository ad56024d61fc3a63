"""What lasts is said when it begins, and once an hour."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from ldapmilter.config import load
from ldapmilter.daemon.reminders import Reminders, not_applied

if TYPE_CHECKING:
    from pathlib import Path

PARTS = ("[copy archive]", "[copy legal]", "[from]", "[lists]")
LOUD = {"a": logging.ERROR, "b": logging.WARNING}


def test_what_lasts_is_said_at_once_and_an_hour_later() -> None:
    reminders = Reminders()
    assert reminders.due(LOUD, 0.0) == LOUD
    assert [reminders.due(LOUD, float(now)) for now in range(60, 3600, 60)] == [{}] * 59
    assert reminders.due(LOUD, 3600.0) == LOUD


def test_what_ends_and_begins_again_is_said_again() -> None:
    reminders = Reminders()
    reminders.due(LOUD, 0.0)
    assert reminders.due({"b": logging.WARNING}, 60.0) == {}
    assert reminders.due(LOUD, 120.0) == {"a": logging.ERROR}


def test_what_was_logged_elsewhere_counts_as_said() -> None:
    reminders = Reminders()
    reminders.said("a", 0.0)
    assert reminders.due({"a": logging.ERROR}, 60.0) == {}
    assert reminders.due({"a": logging.ERROR}, 3600.0) == {"a": logging.ERROR}


@pytest.mark.parametrize(
    ("modes", "line"),
    [
        ({}, None),
        (dict.fromkeys(PARTS, "observe"), f"nothing of the policy is applied: in mode observe: {' '.join(PARTS)}"),
        (
            {"[copy archive]": "observe", "[from]": "pass"},
            "not everything of the policy is applied: in mode observe: [copy archive]; in mode pass: [from]",
        ),
    ],
)
def test_what_is_not_applied_is_one_line(modes: dict[str, str], line: str | None, tmp_path: Path) -> None:
    config = tmp_path / "config.ini"
    text = "".join(f"{section}\nmode = {mode}\n" for section, mode in modes.items())
    config.write_text(f"[ldap]\nuri = ldap://ldap.test\n{text}", encoding="utf-8")
    assert not_applied(load(config).policy) == line
