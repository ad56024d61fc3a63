"""Policy groups as a whole decision sees them, over an LDIF file and over a real server alike."""

from __future__ import annotations

import time
from datetime import date
from typing import TYPE_CHECKING, Any, Final

import pytest

from ldapmilter.config import load
from ldapmilter.directory.groups import has_own_search
from ldapmilter.directory.policy_groups import PolicyGroups
from ldapmilter.errors import StillReading
from ldapmilter.message import Envelope
from ldapmilter.policy.decide import decide
from tests.contract.asking import entry
from tests.contract.backends import LASTING, BackEnd
from tests.support.builders import (
    account,
    alias_domain,
    cos,
    custom_group,
    domain,
    dynamic_group,
    global_config,
    static_list,
)
from tests.support.names import account_dn, cos_dn, domain_dn, group_dn, zimbra_id
from tests.support.record import Record, merge, to_ldif
from tests.support.slapd import Slapd
from tests.support.zimbra_base import base_records

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ldapmilter.opening import OpenDirectory
    from ldapmilter.policy.model import Decision

LIST: Final = "list@example.test"
NESTED: Final = "nested@example.test"
MANAGED: Final = "managed@example.test"
CUSTOM: Final = "custom@example.test"
JOE: Final = "joe@outside.test"
PEOPLE: Final = 40


def _records() -> list[Record]:
    managed = zimbra_id("group", MANAGED)
    applies: dict[str, Any] = {"ldapMilterAppliesToMembers": True}
    return merge(
        [
            *base_records(),
            *global_config(zimbraDefaultDomainName="example.test", ldapMilterLegalBcc="global@vault.test"),
            *cos("sales", ldapMilterArchiveBcc="cos@vault.test", ldapMilterLegalBcc="cos@vault.test"),
            *domain(
                "example.test",
                zimbraDomainDefaultCOSId=zimbra_id("cos", "sales"),
                ldapMilterArchiveBcc="domain@vault.test",
            ),
            *alias_domain("alias.test", "example.test"),
            *account("alan@example.test"),
            *account("nora@example.test", aliases=["n@example.test"]),
            *account("wim@example.test"),
            *account("zoe@example.test"),
            *account("mona@example.test", zimbraMemberOf=managed.upper()),
            *account("cleo@example.test", title="engineer"),
            *account("multi@example.test", title="engineer", zimbraMemberOf=managed),
            *account("own@example.test", zimbraMemberOf=managed, ldapMilterArchiveBcc="own@vault.test"),
            *account("forwarder@example.test", zimbraPrefMailForwardingAddress="target@example.test"),
            *account("target@example.test"),
            *account("nobody@example.test"),
            *static_list(
                LIST,
                [
                    "ALAN@example.test",
                    NESTED,
                    "wim@alias.test",
                    'Zoe "Z" <zoe@alias.test>, zed@outside.test',
                    "forwarder@example.test",
                    JOE,
                ],
                ldapMilterArchiveBcc="list@vault.test",
                **applies,
            ),
            *static_list(NESTED, ["n@example.test", LIST]),
            *dynamic_group(
                MANAGED,
                external=[JOE],
                ldapMilterArchiveBcc="managed@vault.test",
                ldapMilterSenderFromRewrite="external => managed@example.test",
                **applies,
            ),
            *custom_group(
                CUSTOM,
                "ldap:///ou=people,dc=example,dc=test??sub?(&(objectClass=zimbraAccount)(title=engineer))",
                ldapMilterArchiveBcc="custom@vault.test",
                **applies,
            ),
            *static_list(
                "false@example.test",
                ["nobody@example.test"],
                ldapMilterAppliesToMembers=False,
                ldapMilterArchiveBcc="false@vault.test",
            ),
            *static_list("absent@example.test", ["nobody@example.test"], ldapMilterArchiveBcc="absent@vault.test"),
            *static_list("nothing@example.test", ["nobody@example.test"], **applies),
            *(one for number in range(PEOPLE) for one in account(f"cold{number}@example.test")),
        ]
    )


@pytest.fixture(scope="module", params=["ldif", "slapd"])
def backend(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackEnd]:
    """Return a back end with a directory of policy groups."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "ldif":
        (folder / "directory.ldif").write_text(to_ldif(_records()), encoding="utf-8")
        yield BackEnd("ldif", "uri = ldif:directory.ldif\n", folder, time.monotonic)
        return
    with Slapd(_records()) as server:
        secret = folder / "secret"
        secret.write_text(f"{server.password}\n", encoding="utf-8")
        secret.chmod(0o600)
        section = f"uri = {server.uri}\nstarttls = no\nbind_dn = {server.bind_dn}\nbind_password_file = {secret}\n"
        yield BackEnd("slapd", section, folder, time.monotonic, server)


class Deciding:
    """Decisions over a back end, with what each of them cost."""

    def __init__(self, backend: BackEnd, opened: OpenDirectory) -> None:
        self._backend = backend
        self._opened = opened
        self._policy = load(backend.folder / "config.ini").policy

    def __call__(self, *, login: str | None = None, to: str = JOE) -> Decision:
        before = self._backend.log_position()
        envelope = Envelope(login=login, client="198.51.100.9", sender=login or "joe@elsewhere.test", recipients=(to,))
        decision = decide(envelope, self._opened.directory.for_message(), self._policy, today=date(2026, 6, 15))
        assert decision.verdict == "accept", decision.warnings
        if self._backend.server is not None:
            assert self._backend.log_position() - before == decision.searches
        return decision


@pytest.fixture
def deciding(backend: BackEnd) -> Iterator[Deciding]:
    with backend.opened(LASTING) as opened:
        yield Deciding(backend, opened)


def archives(decision: Decision) -> dict[str, tuple[str, str, tuple[str, ...]]]:
    """Return level, DN and path of every reason for an archive copy, by the address."""
    return {
        copy.address.key: (str(reason.level), reason.dn.lower(), reason.group_path)
        for copy in decision.copies
        for reason in copy.reasons
        if reason.copy_class == "archive"
    }


BY_LIST: Final = {"list@vault.test": ("policy-group", account_dn(LIST), (LIST,))}
BY_NESTED: Final = {"list@vault.test": ("policy-group", account_dn(LIST), (LIST, NESTED))}
BY_MANAGED: Final = {"managed@vault.test": ("policy-group", group_dn(MANAGED), (MANAGED,))}
BY_CUSTOM: Final = {"custom@vault.test": ("policy-group", group_dn(CUSTOM), (CUSTOM,))}
BY_COS: Final[dict[str, tuple[str, str, tuple[str, ...]]]] = {"cos@vault.test": ("cos", cos_dn("sales"), ())}

MEMBERS: Final = {
    "alan@example.test": BY_LIST,
    "nora@example.test": BY_NESTED,
    "wim@example.test": BY_LIST,
    "zoe@example.test": BY_LIST,
    "mona@example.test": BY_MANAGED,
    "cleo@example.test": BY_CUSTOM,
    "multi@example.test": {**BY_MANAGED, **BY_CUSTOM},
    "own@example.test": {"own@vault.test": ("account", account_dn("own@example.test"), ())},
    "target@example.test": BY_COS,
    "nobody@example.test": BY_COS,
}


def test_the_lists_around_an_account_are_found_from_below(backend: BackEnd) -> None:
    """Policy groups and others; who is in a dynamic group by a search of its own cannot be told."""
    around = {
        "nora@example.test": {NESTED: (NESTED,), LIST: (LIST, NESTED)},
        "wim@example.test": {LIST: (LIST,), NESTED: (NESTED, LIST)},
        "multi@example.test": {MANAGED: (MANAGED,)},
        "cleo@example.test": {},
        "nobody@example.test": {
            name: (name,) for name in ("absent@example.test", "false@example.test", "nothing@example.test")
        },
    }
    with backend.opened() as opened:
        view = opened.directory.for_message()
        for name, expected in around.items():
            found = view.groups_around(entry(view, name))
            assert {group.name.key: path for group, path in found.items()} == expected


@pytest.mark.parametrize("name", MEMBERS)
def test_the_level_of_a_member(deciding: Deciding, name: str) -> None:
    assert archives(deciding(login=name)) == MEMBERS[name]
    assert archives(deciding(to=name)) == MEMBERS[name]
    # Under union nothing is hidden.
    legal = {copy.address.key for copy in deciding(login=name).copies if "legal" in copy.classes}
    assert legal == {"cos@vault.test", "global@vault.test"}


@pytest.mark.parametrize("name", MEMBERS)
def test_the_level_of_a_member_is_the_same_asked_from_below(
    deciding: Deciding, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While lists and dynamic groups are on their way; who is in a search of its own is known."""
    read = PolicyGroups._read

    def unread(groups: PolicyGroups, keys: Any) -> Any:
        found, _ = read(groups, keys)
        late = [key for key, raw in keys.items() if not has_own_search(raw)]
        return {key: found[key] for key in found if key not in late}, dict.fromkeys(late, StillReading("on its way"))

    monkeypatch.setattr(PolicyGroups, "_read", unread)
    assert archives(deciding(login=name)) == MEMBERS[name]
    assert archives(deciding(to=name)) == MEMBERS[name]


def test_a_member_by_any_spelling_of_its_own(deciding: Deciding) -> None:
    for spelling in ("n@example.test", "NORA@example.test", "nora@alias.test", "n@alias.test", "nora"):
        assert archives(deciding(login=spelling)) == BY_NESTED


@pytest.mark.parametrize("group", [LIST, MANAGED, CUSTOM])
def test_the_group_itself_has_group_domain_global(deciding: Deciding, group: str) -> None:
    decision = deciding(to=group)
    own = [
        (reason.level, reason.dn.lower())
        for copy in decision.copies
        for reason in copy.reasons
        if reason.recipient == group and not reason.group_path
    ]
    dn = account_dn(group) if group == LIST else group_dn(group)
    assert own == [("group", dn), ("global", "cn=config,cn=zimbra")]


def test_a_group_without_a_value_hides_nothing_and_gives_nothing(deciding: Deciding) -> None:
    reasons = [reason for copy in deciding(to="nothing@example.test").copies for reason in copy.reasons]
    assert {(reason.level, reason.dn) for reason in reasons if reason.recipient == "nothing@example.test"} == {
        ("domain", domain_dn("example.test")),
        ("global", "cn=config,cn=zimbra"),
    }


def test_a_senders_rule(deciding: Deciding) -> None:
    change = deciding(login="mona@example.test").from_change
    assert change is not None
    (reason,) = change.reasons
    assert change.value == "managed@example.test"
    assert (reason.level, reason.dn.lower(), reason.group_path) == ("policy-group", group_dn(MANAGED), (MANAGED,))
    assert deciding(login="alan@example.test").from_change is None


def test_a_warm_message_costs_nothing_and_a_cold_account_only_itself(deciding: Deciding) -> None:
    assert deciding(login="cold0@example.test").searches > 0
    for number in range(1, PEOPLE):
        # The account, and nothing for the groups that it is not in.
        assert deciding(login=f"cold{number}@example.test").searches == 1
    for name in (*MEMBERS, *(f"cold{number}@example.test" for number in range(PEOPLE))):
        deciding(login=name)
        assert deciding(login=name).searches == 0


def test_to_be_in_one_costs_no_more_than_not_to_be(backend: BackEnd) -> None:
    def cold(login: str) -> int:
        with backend.opened(LASTING) as opened:
            return Deciding(backend, opened)(login=login).searches

    plain = cold("cold0@example.test")
    for member in ("alan@example.test", "mona@example.test", "multi@example.test"):
        assert cold(member) <= plain
