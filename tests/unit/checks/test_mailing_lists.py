"""Findings about lists with settings: posts that would not arrive, and who else writes their Reply-To."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ldapmilter.checks import mailing_lists
from ldapmilter.checks.finding import Report, Severity
from ldapmilter.checks.reading import RawDirectory
from ldapmilter.checks.survey import look_at_values
from ldapmilter.opening import open_directory
from tests.support.builders import account, static_list
from tests.support.record import to_ldif
from tests.unit.checks.scene import config_of, look_at, site, texts

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.record import Record

ANN, AWAY, STAFF = "ann@example.test", "away@elsewhere.example", "staff@example.test"


@pytest.fixture(autouse=True)
def published(monkeypatch: pytest.MonkeyPatch) -> dict[str, str | None]:
    """Let the name service say what a test wants."""
    policies: dict[str, str | None] = {}
    monkeypatch.setattr(mailing_lists, "dmarc_policy", policies.get)
    return policies


def staff(*members: str, **attributes: Any) -> list[Record]:
    return [*account(ANN), *static_list(STAFF, members or (ANN, AWAY), **attributes)]


def test_a_list_in_order_gives_rise_to_nothing(tmp_path: Path) -> None:
    whole = staff(
        ldapMilterListFrom="foreign",
        ldapMilterListHeaders="TRUE",
        ldapMilterListTag="[staff]",
        ldapMilterListBounces=ANN,
        ldapMilterListReplyTo="list",
        ldapMilterListHeaderField=["List-Help: <mailto:ann@example.test>", "List-Owner: <mailto:ann@example.test>"],
    )
    report = look_at(tmp_path, site(whole))
    assert report.findings == ()
    assert report.figures["policy_values"] == 7


@pytest.mark.parametrize(
    ("policy", "severity"),
    [
        ("reject", Severity.PROBLEM),
        ("quarantine", Severity.PROBLEM),
        ("none", Severity.WARNING),
        (None, Severity.WARNING),
    ],
)
def test_posts_without_a_signature_of_ours(
    tmp_path: Path, published: dict[str, str | None], policy: str | None, severity: Severity
) -> None:
    published["example.test"] = policy
    report = look_at(tmp_path, site(staff(ldapMilterListFrom="foreign")))
    (found,) = report.findings
    assert (found.code, found.severity) == ("list-unaligned", severity)
    assert STAFF in found.text


def test_an_address_for_bounces_in_another_domain_aligns_nothing(tmp_path: Path) -> None:
    records = site(staff(ldapMilterListFrom="foreign", ldapMilterListBounces="bounces@elsewhere.example"))
    (found,) = look_at(tmp_path, records).findings
    assert (found.code, found.severity) == ("list-unaligned", Severity.WARNING)


@pytest.mark.parametrize("attributes", [{"ldapMilterListFrom": "keep"}, {"ldapMilterListTag": "[staff]"}, {}])
def test_posts_that_keep_their_from_are_aligned(tmp_path: Path, attributes: dict[str, str]) -> None:
    assert look_at(tmp_path, site(staff(**attributes))).findings == ()


def test_a_list_without_members_outside_is_aligned(tmp_path: Path) -> None:
    assert look_at(tmp_path, site(staff(ANN, ldapMilterListFrom="foreign"))).findings == ()


def test_zimbras_own_reply_to_wins(tmp_path: Path) -> None:
    report = look_at(tmp_path, site(staff(ldapMilterListReplyTo="list", zimbraPrefReplyToEnabled="TRUE")))
    assert texts(report, "list-reply-to") == [f"{STAFF}: list and Zimbra's"]


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"ldapMilterListFrom": "sometimes"}, "sometimes"),
        ({"ldapMilterListHeaderField": "Subject: <https://x.example>"}, "Subject"),
        ({"ldapMilterListBounces": STAFF}, "each bounce would be a post"),
        ({"ldapMilterListBounces": "gone@example.test"}, "does not exist"),
    ],
)
def test_invalid_values_are_listed_once(tmp_path: Path, attributes: dict[str, str], words: str) -> None:
    (text,) = texts(look_at(tmp_path, site(staff(**attributes))), "value-invalid")
    assert words in text


def test_settings_of_lists_do_nothing_on_accounts(tmp_path: Path) -> None:
    report = look_at(tmp_path, site(account(ANN, ldapMilterListTag="[x]")))
    (text,) = texts(report, "value-no-effect")
    assert "settings of lists" in text


def test_milters_behind_are_named_where_a_from_changes(tmp_path: Path) -> None:
    for attributes, expected in (({"ldapMilterListFrom": "always", "ldapMilterListBounces": ANN}, 1), ({}, 0)):
        (tmp_path / "site.ldif").write_text(to_ldif(site(staff(**attributes))))
        config = config_of(tmp_path, {"ldap": {"uri": "ldif:site.ldif"}})
        report = Report(milters_behind=("inet:127.0.0.1:8893",))
        opened = open_directory(config)
        look_at_values(
            RawDirectory(store=opened.store, server=None, base="", seconds=10), opened.directory, config, report
        )
        opened.close()
        assert len(texts(report, "list-milter-behind")) == expected


@pytest.mark.parametrize(
    ("domain", "records", "policy"),
    [
        ("example.test", {"example.test": '"v=DMARC1; p=reject; rua=mailto:x@y.example"'}, "reject"),
        ("example.test", {"example.test": '"v=DMARC1; " "p=none"'}, "none"),
        ("example.test", {"example.test": '"v=DMARC1; sp=reject; p=quarantine"'}, "quarantine"),
        ("example.test", {"example.test": '"v=spf1 -all"'}, None),
        ("example.test", {}, None),
        ("lists.example.test", {"example.test": '"v=DMARC1; p=reject"'}, "reject"),
        ("lists.example.test", {"example.test": '"v=DMARC1; p=reject; sp=none"'}, "none"),
        ("example.test", {"test": '"v=DMARC1; p=reject"'}, None),
    ],
)
def test_what_a_domain_publishes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, domain: str, records: dict[str, str], policy: str | None
) -> None:
    cases = "".join(f"_dmarc.{name}) cat <<'X'\n{record}\nX\n;;\n" for name, record in records.items())
    program = tmp_path / "dig"
    program.write_text(f'#!/bin/sh\nfor name; do :; done\ncase "$name" in\n{cases}*) ;;\nesac\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert DMARC_POLICY(domain) == policy


DMARC_POLICY = mailing_lists.dmarc_policy
