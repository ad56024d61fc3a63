"""What a flush asks: who has an address now, and what names them, in whatever spelling."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from ldapmilter.address import stored_addresses
from ldapmilter.directory.backend.store import Deadline
from ldapmilter.directory.names import unknown_addresses, unknown_cos, unknown_domain
from ldapmilter.errors import DirectoryUnavailable
from tests.contract.asking import address
from tests.contract.shapes import ANN, ANN_DN, LOOSE
from tests.support.names import account_dn, zimbra_id
from tests.support.ports import HANG

if TYPE_CHECKING:
    from ldapmilter.opening import OpenDirectory


def soon() -> Deadline:
    return Deadline.after(HANG, time.monotonic)


@pytest.mark.parametrize(
    ("flushed", "owners", "naming"),
    [
        (ANN, [ANN_DN], ["eng@example.test", "partners@example.test", LOOSE]),
        ("A.Able@alias.test", [ANN_DN], ["eng@example.test", "partners@example.test", LOOSE]),
        ('" ann"@prov.test', [ANN_DN], ["eng@example.test", "partners@example.test", LOOSE]),
        ("eng@example.test", [account_dn("eng@example.test")], ["all@example.test"]),
        ("watchers@alias.test", [account_dn("watchers@example.test")], ["watch@example.test"]),
        ("nobody@other.test", [], ["catching@example.test"]),
        ("nobody@outside.test", [], []),
    ],
)
def test_who_has_an_address_and_what_names_them(
    opened: OpenDirectory, flushed: str, owners: list[str], naming: list[str]
) -> None:
    present = opened.directory.present([address(flushed)])
    assert sorted(raw.dn.lower() for raw in present.raws) == sorted([*owners, *map(account_dn, naming)])
    assert "example.test" in present.site.domains


def test_an_account_names_its_dynamic_groups(opened: OpenDirectory) -> None:
    present = opened.directory.present([address(ANN)])
    ids = {text for raw in present.raws for text in raw.all("zimbramemberof")}
    assert ids == {zimbra_id("group", "dyn@example.test")}


def test_an_address_is_known_by_who_has_it_and_by_lists_that_name_it(opened: OpenDirectory) -> None:
    known = [ANN, "A.Able@alias.test", '" ann"@prov.test', "eng@example.test", "nobody@other.test"]
    unknown = ["nobody@gmail.com", "nobody@example.test", "ann@exmaple.test", "\udcff@example.test"]
    present = opened.directory.present(list(stored_addresses([*known, *unknown])))
    assert [tuple(one) for one in unknown_addresses([*known, *unknown], present)] == [
        ("address", "nobody@gmail.com", None),
        ("address", "nobody@example.test", None),
        ("address", "ann@exmaple.test", "ann@example.test"),
        ("address", "\udcff@example.test", None),
    ]


@pytest.mark.parametrize("name", ["sales", " SALES ", zimbra_id("cos", "sales")])
def test_a_cos_is_known_by_name_and_id(opened: OpenDirectory, name: str) -> None:
    assert unknown_cos(opened.store, name, soon()) is None


@pytest.mark.parametrize(("name", "near"), [("slaes", "sales"), ("", None), ("quite-another", None)])
def test_a_cos_that_does_not_exist(opened: OpenDirectory, name: str, near: str | None) -> None:
    assert unknown_cos(opened.store, name, soon()) == ("COS", name, near)


@pytest.mark.parametrize("name", ["example.test", "Example.TEST", "alias.test"])
def test_a_domain_is_known_by_its_name(opened: OpenDirectory, name: str) -> None:
    assert unknown_domain(opened.store, "", name, soon()) is None


def test_a_domain_that_does_not_exist(opened: OpenDirectory) -> None:
    assert unknown_domain(opened.store, "", "exmaple.test", soon()) == ("domain", "exmaple.test", "example.test")


def test_nothing_to_be_seen_is_no_answer(opened: OpenDirectory) -> None:
    with pytest.raises(DirectoryUnavailable, match="no domain can be seen"):
        unknown_domain(opened.store, "cn=cos,cn=zimbra", "example.test", soon())
