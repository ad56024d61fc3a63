"""How Postfix tells recipients apart: what its configuration says, and caution where it says nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ldapmilter.daemon import recipient_filter
from ldapmilter.daemon.recipient_filter import RecipientFilter

if TYPE_CHECKING:
    from pathlib import Path

    from ldapmilter.config import OriginalRecipient


def postconf(folder: Path, main: str, master: str = "", status: int = 0) -> str:
    """Return a program that answers as postconf(1) does to `-x NAME` and to `-x -P`."""
    program = folder / "postconf"
    program.write_text(
        f"#!/bin/sh\n[ {status} = 0 ] || {{ echo broken >&2; exit {status}; }}\n"
        f'if [ "$2" = -P ]; then printf %s "{master}"; else echo "$2 = {main}"; fi\n'
    )
    program.chmod(0o755)
    return str(program)


@pytest.mark.parametrize(
    ("main", "master", "expected"),
    [
        ("yes", "", True),
        ("no", "", False),
        ("yes", "cleanup/unix/enable_original_recipient = no\n", False),
        ("no", "other/unix/enable_original_recipient = yes\n", False),
        ("yes", "smtp/inet/smtpd_milters = a\n", True),
    ],
)
def test_postfix_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, main: str, master: str, *, expected: bool
) -> None:
    program = postconf(tmp_path, main, master)
    monkeypatch.setattr(recipient_filter, "find_postconf", lambda: program)
    asking = RecipientFilter("auto")
    assert not asking.tells_apart
    asking.ask()
    assert asking.tells_apart is expected


def test_where_there_is_no_postfix_nothing_is_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipient_filter, "find_postconf", lambda: None)
    asking = RecipientFilter("auto")
    asking.ask()
    assert not asking.tells_apart


def test_a_postfix_that_cannot_be_asked_any_more_is_named_and_not_relied_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    program = postconf(tmp_path, "yes")
    monkeypatch.setattr(recipient_filter, "find_postconf", lambda: program)
    asking = RecipientFilter("auto")
    asking.ask()
    before = asking.tells_apart
    postconf(tmp_path, "yes", status=1)
    asking.ask()
    assert (before, asking.tells_apart) == (True, False)
    assert "enable_original_recipient = auto" in caplog.text
    assert "broken" in caplog.text


@pytest.mark.parametrize(("setting", "expected"), [("yes", True), ("no", False)])
def test_what_the_configuration_says_counts(
    monkeypatch: pytest.MonkeyPatch, setting: OriginalRecipient, *, expected: bool
) -> None:
    monkeypatch.setattr(recipient_filter, "find_postconf", lambda: pytest.fail("asked all the same"))
    told = RecipientFilter(setting)
    told.ask()
    assert told.tells_apart is expected
    told.follow("auto")
    assert told.tells_apart is expected
