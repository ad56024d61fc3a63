"""What others can see: nobody but the milter and the administrators may learn who is copied.

A value that may not be read can still betray itself: by a filter that matches it, by a negated filter
that does not, by a Compare that says "false" instead of "no access". All of them are tried, as
nobody and, when one is given, as an ordinary mail user.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ldapmilter.checks.finding import Area, Kind, Severity
from ldapmilter.directory.filters import And, Equal, Not, Or, Present
from ldapmilter.directory.ldap_connection import ServerFailed
from ldapmilter.directory.one_server import CannotConnect, OneServer, Refused
from ldapmilter.directory.readability import value_for
from ldapmilter.directory.site import APPLIES_TO_MEMBERS, POLICY_CLASS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ldapmilter.checks.finding import Report
    from ldapmilter.directory.endpoints import Endpoints
    from ldapmilter.directory.filters import Filter
    from ldapmilter.directory.ldap import LdapSettings

_AREA = Area.LDAP

VISIBLE = Kind(
    code="ldap-policy-visible",
    severity=Severity.PROBLEM,
    area=_AREA,
    meaning="Somebody who is neither the milter nor an administrator can find out who is copied.",
    remedy="put the access rules that hide policy first on this server (ldapmilter schema --acl)",
    confidential=True,
)
USER_UNTRIED = Kind(
    code="ldap-user-untried",
    severity=Severity.NOTE,
    area=_AREA,
    meaning="What an ordinary mail user can see was not tried; a user sees more than somebody anonymous does.",
    remedy="run: ldapmilter check --as-user DN --as-password-file FILE, with the DN of some mail user",
)
USER_REFUSED = Kind(
    code="ldap-user-refused",
    severity=Severity.WARNING,
    area=_AREA,
    meaning="The mail user of `--as-user` could not bind, so what users can see was not tried.",
    remedy="give the DN of a mail user and a file with that user's password",
)

KINDS = (VISIBLE, USER_UNTRIED, USER_REFUSED)

# RFC 4511 appendix A: false, true, no such attribute, inappropriate matching, a value of another syntax.
_READ = frozenset({5, 6, 16, 18, 21})
_CARRIERS = 3
"""Entries with policy on which reads and filters are tried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Somebody:
    """An ordinary mail user."""

    dn: str
    password: str


def check(
    server: OneServer,
    settings: LdapSettings,
    endpoints: Endpoints,
    samples: Mapping[str, str],
    report: Report,
    *,
    somebody: Somebody | None,
) -> None:
    """Try to find out who is copied, with the rights of others.

    Args:
        server: a connection of the milter's own, to find entries to try on.
        settings: which attributes hold policy, and how long a question may take.
        endpoints: how connections are secured.
        samples: one entry of each kind, by kind.
        report: what to add to.
        somebody: an ordinary mail user.

    Raises:
        ServerFailed: the server stopped answering the milter.
    """
    attributes = list(settings.policy_attributes)
    if any(attribute.lower().startswith("ldapmilter") for attribute in attributes):
        attributes.append(APPLIES_TO_MEMBERS)
    places = _places(server, attributes, samples)
    for name, dn, password in (
        ("anonymous", "", ""),
        *((("a mail user", somebody.dn, somebody.password),) if somebody else ()),
    ):
        if not dn and server.uri.lower().startswith("ldapi:"):
            continue  # nobody is anonymous there: whoever runs this process is known by user id
        who = f"{name} ({dn})" if dn else name
        try:
            other = OneServer(server.uri, endpoints, dn, password, settings.connect_timeout)
        except CannotConnect as error:
            if error.step != "bind":
                raise ServerFailed(str(error)) from error
            if dn:
                report.add(USER_REFUSED.found(f"{server.uri}: {error}"))
            else:
                report.fine(_AREA, f"{server.uri}: nobody gets in without a login")
            continue
        seen: dict[str, None] = {}
        try:
            for way in _seen(other, attributes, samples, places):
                seen[way] = None
        except Refused:
            pass  # who may not search at all finds nothing more
        finally:
            other.close()
        if seen:
            report.add(VISIBLE.found(f"{server.uri}: {who} {'; '.join(seen)}"))
        else:
            report.fine(_AREA, f"{server.uri}: {who} sees no policy")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Places:
    """Where to try: entries with policy, and one of a mail user without."""

    carriers: tuple[str, ...]
    plain: str | None


def _places(server: OneServer, attributes: list[str], samples: Mapping[str, str]) -> _Places:
    # Our own attributes need our class, which is indexed; others are looked for as they are.
    others = (Present(attribute) for attribute in attributes if not attribute.lower().startswith("ldapmilter"))
    marks: tuple[Filter, ...] = (Equal("objectClass", POLICY_CLASS), *others)
    accounts: Filter = Equal("objectClass", "zimbraAccount")
    carriers = server.search("", "sub", And((accounts, Or(marks))), ("objectClass",), most=_CARRIERS)
    carriers += server.search("", "sub", Or(marks), ("objectClass",), most=_CARRIERS)
    plain = server.search(
        "", "sub", And((accounts, Present("zimbraMailDeliveryAddress"), *map(Not, marks))), ("uid",), most=1
    )
    return _Places(
        carriers=tuple(dict.fromkeys(entry.dn for entry in carriers)),
        plain=plain[0].dn if plain else samples.get("account"),
    )


def _seen(other: OneServer, attributes: list[str], samples: Mapping[str, str], places: _Places) -> Iterator[str]:
    """Yield, in words, every way in which policy shows."""
    for dn in samples.values():
        for attribute in attributes:
            if other.compare(dn, attribute, value_for(attribute)) in _READ:
                yield f"may compare {attribute} of {dn}"
    for dn in places.carriers:
        yield from _read(other, dn, attributes)
        betraying: list[Equal | Present] = [Equal("objectClass", POLICY_CLASS), *map(Present, attributes)]
        for one in betraying:
            if other.search(dn, "base", one, ("1.1",)):
                yield f"finds {dn} by a filter on {one.attribute}"
            if places.plain and _negation_differs(other, dn, places.plain, one):
                yield f"finds {dn} by a negated filter on {one.attribute}"


def _read(other: OneServer, dn: str, attributes: list[str]) -> Iterator[str]:
    for entry in other.search(dn, "base", Present("objectClass"), ("objectClass", *attributes)):
        readable = [attribute for attribute in attributes if entry.all(attribute.lower())]
        if POLICY_CLASS.lower() in {value.lower() for value in entry.all("objectclass")}:
            readable.append(f"the objectClass {POLICY_CLASS}")
        if readable:
            yield f"reads {', '.join(readable)} of {dn}"


def _negation_differs(other: OneServer, carrier: str, plain: str, one: Filter) -> bool:
    """Whether a negated filter tells an entry with policy from one without, both being visible."""
    if not all(other.search(dn, "base", Equal("objectClass", "zimbraAccount"), ("1.1",)) for dn in (carrier, plain)):
        return False
    carried = other.search(carrier, "base", Not(one), ("1.1",))
    return bool(carried) != bool(other.search(plain, "base", Not(one), ("1.1",)))
