"""Findings about the logins of devices and relays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ldapmilter.checks import service_logins
from ldapmilter.checks.finding import Report
from ldapmilter.opening import open_directory
from tests.support.builders import account, static_list
from tests.support.record import to_ldif
from tests.unit.checks.scene import config_of, site

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("option", "found"),
    [
        ("scanner relay@mail2.client.test=ann@example.test", []),
        ("relay=ANN@example.test", []),
        ("ann@example.test=ann@example.test", []),
        ("relay=nobody@example.test", [("service-login-unknown", "relay stands for nobody@example.test")]),
        ("relay=staff@example.test", [("service-login-unknown", "relay stands for staff@example.test")]),
        ("relay=joe@client.test", [("service-login-unknown", "relay stands for joe@client.test")]),
        ("ann", [("service-login-account", "ann stands for nobody")]),
        ("Ann@example.test", [("service-login-account", "ann@example.test stands for nobody")]),
        ("ann=bob@example.test", [("service-login-account", "ann stands for bob@example.test")]),
    ],
)
def test_what_a_service_login_stands_for(tmp_path: Path, option: str, found: list[tuple[str, str]]) -> None:
    people = [account("ann@example.test"), account("bob@example.test"), static_list("staff@example.test", [])]
    (tmp_path / "site.ldif").write_text(to_ldif(site(*people)))
    config = config_of(tmp_path, {"ldap": {"uri": "ldif:site.ldif"}, "identity": {"service_logins": option}})
    opened, report = open_directory(config), Report()

    service_logins.check(opened.directory.for_message(), config, report)

    opened.close()
    assert [(one.code, one.text) for one in report.findings] == found
