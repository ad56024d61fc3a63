"""Whether the relay's domain is nobody's, as the directory knows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ldapmilter.checks import relay_domain
from ldapmilter.checks.finding import Report
from ldapmilter.opening import open_directory
from tests.support.builders import account
from tests.support.record import to_ldif
from tests.unit.checks.scene import config_of, site

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("listen", "domain", "found"),
    [
        ("unix:/run/relay.sock", "copies.invalid", []),
        ("unix:/run/relay.sock", "example.test", ["relay-domain-hosted"]),
        ("", "example.test", []),
    ],
)
def test_the_relays_domain(tmp_path: Path, listen: str, domain: str, found: list[str]) -> None:
    (tmp_path / "site.ldif").write_text(to_ldif(site(account("ann@example.test"))))
    relay = {"listen": listen, "domain": domain, "next_hop": "smtp:[192.0.2.1]:25"}
    config = config_of(tmp_path, {"ldap": {"uri": "ldif:site.ldif"}, "relay": relay})
    opened, report = open_directory(config), Report()

    relay_domain.check(opened.directory.for_message(), config, report)

    opened.close()
    assert [one.code for one in report.findings] == found
