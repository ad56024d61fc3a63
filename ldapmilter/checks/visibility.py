"""What others can see: only the milter and the administrators may learn who is copied.

Tried (:mod:`ldapmilter.directory.ldap.secrecy`) anonymously and, when one is given, as an ordinary mail user.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from ldapmilter.checks.finding import Area, Kind, Severity
from ldapmilter.directory.backend.filters import And, Equal, Not, Or, Present
from ldapmilter.directory.backend.names import APPLIES_TO_MEMBERS, is_ours
from ldapmilter.directory.ldap.command_connection import connect
from ldapmilter.directory.ldap.exchange import CannotConnect, Credentials, Refused, ServerFailed
from ldapmilter.directory.ldap.secrecy import policy_marks, ways_to_see_policy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ldapmilter.checks.finding import Report
    from ldapmilter.directory.backend.filters import Filter
    from ldapmilter.directory.ldap.connection import Connection
    from ldapmilter.directory.ldap.endpoints import Endpoints, LdapSettings

_AREA = Area.LDAP

VISIBLE = Kind(
    code="ldap-policy-visible",
    severity=Severity.PROBLEM,
    area=_AREA,
    meaning="Others than the milter and the administrators can find out who is copied.",
    remedy="put the access rules that hide policy first on this server (ldapmilter schema --acl)",
    confidential=True,
)
USER_UNTRIED = Kind(
    code="ldap-user-untried",
    severity=Severity.NOTE,
    area=_AREA,
    meaning="What an ordinary mail user can see was not tested; a user sees more than an anonymous client.",
    remedy="run: ldapmilter check --as-user DN --as-password-file FILE, with the DN of some mail user",
)
USER_REFUSED = Kind(
    code="ldap-user-refused",
    severity=Severity.WARNING,
    area=_AREA,
    meaning="The mail user of `--as-user` could not bind, so what users can see was not tested.",
    remedy="give the DN of a mail user and a file with that user's password",
)

KINDS = (VISIBLE, USER_UNTRIED, USER_REFUSED)

_CARRIERS = 3
"""Entries with policy on which reads and filters are tried."""


class MailUser(Struct, frozen=True, kw_only=True):
    """An ordinary mail user."""

    dn: str
    password: str


def check(
    server: Connection,
    settings: LdapSettings,
    endpoints: Endpoints,
    samples: Mapping[str, str],
    report: Report,
    *,
    mail_user: MailUser | None,
    own_class: bool = True,
) -> None:
    """Try to find out who is copied, with the rights of others.

    Args:
        server: a connection of the milter's own, to find entries to try on.
        settings: which attributes hold policy, and how long a question may take.
        endpoints: how connections are secured.
        samples: one entry of each kind, by kind.
        report: what to add to.
        mail_user: an ordinary mail user.
        own_class: whether the server has our object class, which then has to be hidden, too.

    Raises:
        ServerFailed: the server stopped answering the milter.
    """
    attributes = list(settings.policy_attributes)
    if any(map(is_ours, attributes)):
        attributes.append(APPLIES_TO_MEMBERS)
    places = _places(server, attributes, samples)
    for name, dn, password in (
        ("anonymous", "", ""),
        *((("a mail user", mail_user.dn, mail_user.password),) if mail_user else ()),
    ):
        if not dn and server.uri.lower().startswith("ldapi:"):
            continue  # no client is anonymous there: the socket tells its user id
        who = f"{name} ({dn})" if dn else name
        try:
            other = connect(
                server.uri,
                endpoints,
                Credentials(dn=dn, password=password),
                seconds=settings.connect_timeout,
            )
        except CannotConnect as error:
            if error.step != "bind":
                raise ServerFailed(str(error)) from error
            if dn:
                report.add(USER_REFUSED.found(f"{server.uri}: {error}"))
            else:
                report.fine(_AREA, f"{server.uri}: anonymous access is refused")
            continue
        seen: dict[str, None] = {}
        try:
            for way in ways_to_see_policy(other, attributes, places, own_class=own_class):
                seen[way] = None
        except Refused:
            pass  # who may not search at all finds nothing more
        finally:
            other.close()
        if seen:
            report.add(VISIBLE.found(f"{server.uri}: {who} {'; '.join(seen)}"))
        else:
            report.fine(_AREA, f"{server.uri}: {who} sees no policy")


def _places(server: Connection, attributes: list[str], samples: Mapping[str, str]) -> tuple[str, ...]:
    """Return the DNs of entries to try it on: samples of every kind, some with policy, one without."""
    # Our own attributes need our class, which is indexed; others are looked for as they are.
    others = [attribute for attribute in attributes if not is_ours(attribute)]
    marks = policy_marks(others, own_class=True)
    accounts: Filter = Equal("objectClass", "zimbraAccount")
    found = server.search("", "sub", And((accounts, Or(marks))), ("objectClass",), most=_CARRIERS)
    found += server.search("", "sub", Or(marks), ("objectClass",), most=_CARRIERS)
    found += server.search(
        "", "sub", And((accounts, Present("zimbraMailDeliveryAddress"), *map(Not, marks))), ("uid",), most=1
    )
    return tuple(dict.fromkeys((*samples.values(), *(entry.dn for entry in found))))
