"""The unit of contrib/ as systemd's own tools read it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from ldapmilter.config_options import SECTIONS
from ldapmilter.daemon.worker import DRAIN_SECONDS

CONTRIB = Path(__file__).parents[2] / "contrib"
UNIT = CONTRIB / "systemd" / "ldapmilter.service"
NOTES = CONTRIB / "README.md"
ANALYZE = "/usr/bin/systemd-analyze"


def analyze(*arguments: str) -> str:
    done = subprocess.run([ANALYZE, *arguments], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def settings() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r"^(\w+)=(.*)$", UNIT.read_text(encoding="utf-8"), re.MULTILINE):
        found.setdefault(name, []).append(value)
    return found


def test_systemd_finds_nothing_wrong(tmp_path: Path) -> None:
    here = tmp_path / UNIT.name
    text = UNIT.read_text(encoding="utf-8")
    assert "/opt/ldapmilter/bin/ldapmilter" in text
    here.write_text(text.replace("/opt/ldapmilter/bin/ldapmilter", "/bin/true"), encoding="utf-8")
    assert analyze("verify", str(here)) == ""


def test_the_score_that_the_notes_quote() -> None:
    told = analyze("security", "--offline=true", "--no-pager", str(UNIT))
    overall = re.search(r"Overall exposure level for ldapmilter\.service: ([0-9.]+) (\w+)", told)
    assert overall is not None, told
    # Newer versions weigh a little differently; the notes name the one that was asked.
    assert float(overall[1]) <= 2.0
    assert re.search(r"Overall exposure level for ldapmilter\.service: [0-9.]+ OK", NOTES.read_text(encoding="utf-8"))


def test_the_unit_fits_the_daemon(settings: dict[str, list[str]]) -> None:
    assert settings["Type"] == ["notify"]
    assert settings["KillMode"] == ["mixed"]
    assert int(settings["TimeoutStopSec"][0].removesuffix("s")) > DRAIN_SECONDS + 10
    for option in ("socket", "socket_group"):
        default = SECTIONS["milter"][option].default
        assert default is not None
        if option == "socket":
            assert Path(default).parent.name == settings["RuntimeDirectory"][0]
        else:
            assert settings["SupplementaryGroups"] == [default]
    control = SECTIONS["control"]["socket"].default
    assert control is not None
    assert Path(control).parent == Path("/run") / settings["RuntimeDirectory"][0]
    assert int(settings["RuntimeDirectoryMode"][0], 8) & 0o001  # Postfix passes through
    assert int(settings["LogsDirectoryMode"][0], 8) & 0o077 == 0
    for option in ("key_file", "state", "kept"):
        default = SECTIONS["relay"][option].default
        assert default is not None
        assert Path(default).parent == Path("/var/lib") / settings["StateDirectory"][0]
    assert int(settings["StateDirectoryMode"][0], 8) & 0o077 == 0
