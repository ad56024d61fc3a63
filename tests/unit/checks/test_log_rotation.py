"""A rule of logrotate that cuts the audit is found, wherever it stands."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ldapmilter.checks import log_rotation
from ldapmilter.checks.finding import Report
from tests.unit.checks.scene import config_of, texts

if TYPE_CHECKING:
    from pathlib import Path

AUDIT = "/var/log/ldapmilter/audit.jsonl"
CUT = "copytruncate"


def found(tmp_path: Path, files: dict[str, str], audit: str = AUDIT) -> list[str]:
    """Return what is found on a host with some files below /etc."""
    for name, text in files.items():
        file = tmp_path / "etc" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    report = Report()
    log_rotation.check(config_of(tmp_path, {"audit": {"file": audit}}), report, root=tmp_path)
    return texts(report, "config-audit-copytruncate")


@pytest.mark.parametrize(
    "rule",
    [
        f"{AUDIT} {{\n  {CUT}\n}}\n",
        f"{AUDIT} {{ daily\n {CUT} }}\n",
        f'"{AUDIT}" {{\n{CUT}\n}}\n',
        f"/var/log/other.log {AUDIT}\n{{\n  weekly\n  {CUT}\n}}\n",
        f"/var/log/other.log\n{AUDIT}\n{{\n  {CUT}\n}}\n",
        f"/var/log/*/*.jsonl {{\n  {CUT}\n}}\n",
        f"/var/log/ldapmilter/*\n{{\n  {CUT}\n}}\n",
        f"/var/log/ldapmilter/[a-z]*.json? {{\n\t{CUT}\n}}\n",
        f"{CUT}\n{AUDIT} {{\n  daily\n}}\n",
        f"{AUDIT} {{\n  nocopytruncate\n  {CUT}\n}}\n",
        f"{AUDIT} {{\n  postrotate\n    test -e x || {{ true; }}\n  endscript\n  {CUT}\n}}\n",
        f"# a comment {{\n{AUDIT} {{\n  {CUT} # why\n}}\n",
    ],
)
def test_a_rule_that_cuts_it(tmp_path: Path, rule: str) -> None:
    (text,) = found(tmp_path, {"logrotate.d/ldapmilter": rule})
    assert str(tmp_path / "etc/logrotate.d/ldapmilter") in text
    assert AUDIT in text


@pytest.mark.parametrize(
    "rule",
    [
        f"{AUDIT} {{\n  create 0600\n}}\n",
        f"/var/log/*.jsonl {{\n  {CUT}\n}}\n",
        f"/var/log/ldapmilter/*.log {{\n  {CUT}\n}}\n",
        f"{AUDIT} {{\n  {CUT}\n  nocopytruncate\n}}\n",
        f"{CUT}\n{AUDIT} {{\n  nocopytruncate\n}}\n",
        f"{AUDIT} {{\n  # {CUT}\n}}\n",
        f"{AUDIT} {{\n  postrotate\n    echo {CUT}\n  endscript\n}}\n",
        f"{AUDIT} {{\n}}\n/var/log/other {{\n  {CUT}\n}}\n",
        "",
        "}}}} {{{{",
    ],
)
def test_a_rule_that_does_not(tmp_path: Path, rule: str) -> None:
    assert found(tmp_path, {"logrotate.d/ldapmilter": rule}) == []


def test_the_main_file_holds_for_what_it_includes_after(tmp_path: Path) -> None:
    plain = f"{AUDIT} {{\n  daily\n}}\n"
    before = {"logrotate.conf": f"include /etc/logrotate.d\n{CUT}\n", "logrotate.d/audit": plain}
    assert found(tmp_path, before) == []
    after = {"logrotate.conf": f"{CUT}\ninclude /etc/logrotate.d\n", "logrotate.d/audit": plain}
    assert len(found(tmp_path, after)) == 1


def test_what_logrotate_does_not_read(tmp_path: Path) -> None:
    rule = f"{AUDIT} {{\n  {CUT}\n}}\n"
    names = ("audit.dpkg-old", "audit~", "audit.bak")
    assert found(tmp_path, {f"logrotate.d/{name}": rule for name in names}) == []


def test_files_that_include_each_other(tmp_path: Path) -> None:
    assert found(tmp_path, {"logrotate.conf": "include /etc/logrotate.conf\n"}) == []


def test_a_host_without_logrotate_and_a_milter_without_audit(tmp_path: Path) -> None:
    assert found(tmp_path, {}) == []
    report = Report()
    log_rotation.check(config_of(tmp_path, {}), report, root=tmp_path)
    assert report.findings == ()
