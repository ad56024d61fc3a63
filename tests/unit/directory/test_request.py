"""What is asked of an LDAP server, octet for octet what ldap3 would send."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import ldap3
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ldap3.operation.compare import compare_operation
from ldap3.operation.search import search_operation
from ldap3.protocol.convert import build_controls_list
from ldap3.protocol.rfc2696 import paged_search_control
from ldap3.protocol.rfc4511 import LDAPMessage, MessageID, ProtocolOp
from ldap3.utils.asn1 import encode  # type: ignore[attr-defined]

from ldapmilter.directory.backend.filters import And, Equal, Not, Or, Ordered, Present, Substring
from ldapmilter.directory.ldap import request
from tests.support.filter_text import render

if TYPE_CHECKING:
    from collections.abc import Callable

    from ldapmilter.directory.backend.filters import Filter
    from ldapmilter.directory.backend.store import Scope

SCOPES: Final[dict[Scope, Any]] = {"base": ldap3.BASE, "one": ldap3.LEVEL, "sub": ldap3.SUBTREE}
ATTRIBUTES: Final = st.sampled_from(["mail", "zimbraMailAlias", "2.5.4.3", "cn;lang-de"])
TEXT: Final = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
VALUES: Final = TEXT | st.sampled_from(
    ["*", "(x)", "a\\2ab", " a ", "\x85", "\u2003a\xa0 ", "\0", "a" * 127, "a" * 128, "\xe4" * 300]
)
PARTS: Final = st.tuples(VALUES, VALUES, VALUES).filter(any)
SIMPLE: Final[st.SearchStrategy[Filter]] = (
    st.builds(Equal, ATTRIBUTES, VALUES)
    | st.builds(Ordered, ATTRIBUTES, VALUES)
    | st.builds(Present, ATTRIBUTES)
    | st.builds(Substring, ATTRIBUTES, PARTS)
)
FILTERS: Final[st.SearchStrategy[Filter]] = st.recursive(
    SIMPLE,
    lambda part: (
        st.builds(Not, part)
        | st.builds(And, st.lists(part, min_size=1, max_size=4).map(tuple))
        | st.builds(Or, st.lists(part, min_size=1, max_size=4).map(tuple))
    ),
    max_leaves=12,
)


def by_ldap3(number: int, kind: str, operation: object, controls: Any = None) -> bytes:
    """Return what ldap3 sends."""
    message = LDAPMessage()
    message["messageID"] = MessageID(number)
    message["protocolOp"] = ProtocolOp().setComponentByName(kind, operation)
    if controls is not None:
        message["controls"] = build_controls_list(controls)
    octets: bytes = encode(message)
    return octets


def search_by_ldap3(base: str, scope: Scope, text: str, attributes: tuple[str, ...], most: int) -> object:
    asked = [*attributes] or ["1.1"]
    found: object = search_operation(
        base, text, SCOPES[scope], ldap3.DEREF_ALWAYS, asked, most, 0, types_only=False, auto_escape=True,
        auto_encode=True,
    )  # fmt: skip
    return found


@given(
    number=st.integers(1, 2**31 - 1),
    base=TEXT,
    scope=st.sampled_from(sorted(SCOPES)),
    search_filter=FILTERS,
    attributes=st.lists(ATTRIBUTES, max_size=5).map(tuple),
    most=st.sampled_from([0, 1, 127, 128, 255, 256, 2000]),
)
def test_a_search(
    number: int, base: str, scope: Scope, search_filter: Filter, attributes: tuple[str, ...], most: int
) -> None:
    own = request.message(number, request.search(base, scope, search_filter, attributes, most))
    other = search_by_ldap3(base, scope, render(search_filter), attributes, most)
    assert own == by_ldap3(number, "searchRequest", other)


@given(cookie=st.binary(max_size=200), size=st.sampled_from([1, 127, 128, 1000]), who=TEXT)
def test_controls(cookie: bytes, size: int, who: str) -> None:
    oid, dn = "2.16.840.1.113730.3.4.18", who.encode()
    operation = request.search("", "sub", Present("mail"), ("mail",))
    own = request.message(7, operation, [(oid, dn), request.paged_results(size, cookie)])
    other = search_by_ldap3("", "sub", "(mail=*)", ("mail",), 0)
    controls = [(oid, True, dn), paged_search_control(True, size, cookie)]  # noqa: FBT003 - ldap3's
    assert own == by_ldap3(7, "searchRequest", other, controls)


@given(dn=TEXT, attribute=ATTRIBUTES, value=VALUES)
def test_a_compare(dn: str, attribute: str, value: str) -> None:
    own = request.message(300, request.compare(dn, attribute, value))
    other = compare_operation(dn, attribute, value, auto_encode=True)
    assert own == by_ldap3(300, "compareRequest", other)


def test_many_addresses_in_one_search() -> None:
    """Lengths of three octets."""
    search_filter = Or(tuple(Equal("mail", f"user-{number}@example.com") for number in range(3000)))
    own = request.message(1, request.search("", "sub", search_filter, ("mail",)))
    assert own == by_ldap3(1, "searchRequest", search_by_ldap3("", "sub", render(search_filter), ("mail",), 0))


@pytest.mark.parametrize(
    "ask",
    [
        lambda: request.search("", "sub", Or(()), ("mail",)),
        lambda: request.search("", "sub", Equal("mail", "\udce4@example.com"), ("mail",)),
        lambda: request.compare("cn=\udce4", "mail", "x"),
    ],
)
def test_what_cannot_be_asked(ask: Callable[[], bytes]) -> None:
    with pytest.raises(ValueError, match=r"no conditions|surrogates"):
        ask()
