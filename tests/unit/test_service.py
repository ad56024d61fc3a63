"""Which command starts, ends and reloads the daemon here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ldapmilter import service
from ldapmilter.service import command

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(service, "_SYSTEMD", str(tmp_path / "systemd"))
    monkeypatch.setenv("PATH", f":{tmp_path}/bin")
    (tmp_path / "bin").mkdir()
    return tmp_path


def test_by_hand(host: Path) -> None:
    assert host
    assert (command("start"), command("reload")) == ("ldapmilter run", "kill -HUP its process")


def test_by_supervisor(host: Path) -> None:
    program = host / "bin" / "supervisorctl"
    program.write_text("", encoding="ascii")
    assert command("start") == "ldapmilter run"
    program.chmod(0o755)
    assert (command("start"), command("stop")) == ("supervisorctl start ldapmilter", "supervisorctl stop ldapmilter")
    assert command("reload") == "supervisorctl signal HUP ldapmilter"


def test_systemd_goes_before_supervisor(host: Path) -> None:
    (host / "bin" / "supervisorctl").write_text("", encoding="ascii")
    (host / "bin" / "supervisorctl").chmod(0o755)
    (host / "systemd").mkdir()
    assert (command("restart"), command("reload")) == ("systemctl restart ldapmilter", "systemctl reload ldapmilter")
