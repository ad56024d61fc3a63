"""A reload that would put the relay's files where it cannot write is refused."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from ldapmilter.daemon.relay_files import try_relay_files
from ldapmilter.errors import ConfigError
from tests.unit.delivery.test_settings import settings

if TYPE_CHECKING:
    from ldapmilter.delivery.settings import RelaySettings


def placed(folder: Path) -> RelaySettings:
    return replace(settings("smtp:[a.test]:25"), state=folder / "copies.sqlite", kept=folder / "kept")


def test_places_that_can_be_made_or_are_there(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    try_relay_files(placed(tmp_path), placed(other))
    (tmp_path / "copies.sqlite").touch()
    (tmp_path / "kept").mkdir()
    try_relay_files(placed(tmp_path), placed(other))


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    before = placed(tmp_path)
    with pytest.raises(ConfigError, match=r"\[relay\] kept = .*/gone/kept: is not there, nor is its directory .*mkdir"):
        try_relay_files(replace(before, kept=tmp_path / "gone" / "kept"), before)
    with pytest.raises(ConfigError, match=r"\[relay\] state = .*: is not there, nor is"):
        try_relay_files(placed(tmp_path / "gone"), replace(placed(tmp_path / "gone"), listen=None))


def test_what_is_in_force_already_or_no_relays_is_not_looked_at(tmp_path: Path) -> None:
    gone = placed(tmp_path / "gone")
    try_relay_files(gone, gone)
    try_relay_files(replace(gone, listen=None), placed(tmp_path))


def test_a_place_of_somebody_elses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    other = placed(tmp_path / "other")
    with pytest.raises(ConfigError, match=r"\[relay\] state = .*may not write there: "):
        try_relay_files(placed(tmp_path), other)


def test_a_place_that_cannot_be_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stat(self: Path, **_: object) -> os.stat_result:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))

    other = placed(tmp_path / "other")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "stat", stat)
        patched.setattr("ldapmilter.daemon.relay_files.who_may", lambda *_: "it belongs to root")
        with pytest.raises(ConfigError, match=r"\[relay\] state = .*cannot look there: Permission denied; it belongs"):
            try_relay_files(placed(tmp_path), other)
