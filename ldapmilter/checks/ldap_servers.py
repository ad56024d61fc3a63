"""Every LDAP server for itself: reached, secured, bound to, with the schema, and readable.

Schema and access rules are not replicated: a server that lacks them looks, in every search, like one
on which no policy is set. So nothing here may be concluded from another server's answer.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ldapmilter.checks import following, indexes, visibility
from ldapmilter.checks.finding import Area, Kind, Severity
from ldapmilter.checks.replicas import compare_replicas, read_change_numbers
from ldapmilter.config_options import SECTIONS
from ldapmilter.directory.backend.filters import And, Equal, Present
from ldapmilter.directory.backend.names import is_ours
from ldapmilter.directory.ldap.command_connection import connect
from ldapmilter.directory.ldap.exchange import CannotConnect, Credentials, Refused, ServerFailed
from ldapmilter.directory.ldap.readability import (
    ALWAYS_THERE,
    SAMPLE_MARKS,
    asserted,
    kind_of,
    unreadable,
    unreadable_rights,
    unsearchable,
    value_for,
    why_hidden,
)
from ldapmilter.errors import ConfigError
from ldapmilter.similar import similar

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ldapmilter.checks.finding import Report
    from ldapmilter.checks.visibility import MailUser
    from ldapmilter.directory.ldap.connection import Connection
    from ldapmilter.directory.ldap.endpoints import Endpoints, LdapSettings

_AREA = Area.LDAP
_DAY = 86400
EXPIRING_DAYS = 30
NEARLY_EXPIRED_DAYS = 7

_outage = partial(Kind, severity=Severity.PROBLEM, area=_AREA, outage=True)

UNREACHABLE = _outage(
    code="ldap-unreachable",
    meaning="A server does not answer. While others do, mail goes on; when none does, it is deferred or goes on"
    " without copies.",
    remedy="look whether slapd runs there and a firewall lets this host in; remove a server that no longer exists"
    " from [ldap] uri",
)
TLS_FAILED = _outage(
    code="ldap-tls-failed",
    meaning="The connection cannot be secured: expired certificate, unknown authority, another name, or no TLS there.",
    remedy="renew the server's certificate, or name the right authority in [ldap] ca_file and the name in its"
    " certificate in [ldap] uri; where something else than slapd listens there, correct host and port in [ldap] uri",
)
CLEARTEXT = Kind(
    code="ldap-cleartext",
    severity=Severity.WARNING,
    area=_AREA,
    meaning="Password and policy cross the network unencrypted.",
    remedy="set [ldap] starttls = yes, or use ldaps://",
)
CERTIFICATE_EXPIRING = Kind(
    code="ldap-certificate-expiring",
    severity=Severity.WARNING,
    area=_AREA,
    meaning=f"The server's certificate expires within {EXPIRING_DAYS} days.",
    remedy="renew it (Zimbra: zmcertmgr) before then: afterwards no connection is made any more",
)
CERTIFICATE_NEARLY_EXPIRED = Kind(
    code="ldap-certificate-nearly-expired",
    severity=Severity.PROBLEM,
    area=_AREA,
    meaning=f"The server's certificate expires within {NEARLY_EXPIRED_DAYS} days.",
    remedy="renew it now (Zimbra: zmcertmgr): afterwards no connection is made any more",
)
BIND_REFUSED = _outage(
    code="ldap-bind-refused",
    meaning="The server refuses the bind DN with its password.",
    remedy="put the right password into [ldap] bind_password_file, or create the identity (ldapmilter schema"
    " --bind-account)",
)
SCHEMA_MISSING = _outage(
    code="ldap-schema-missing",
    meaning="The server's schema lacks attributes that hold policy: its answers look as if no policy were set.",
    remedy="run install-schema --uri for this server, which loads the schema; cn=config is not replicated",
)
UNREADABLE = _outage(
    code="ldap-unreadable",
    meaning="The bind identity may not read what policy needs, so the milter does not use its answers.",
    remedy="run install-schema --uri for this server, which adds the access rule; cn=config is not replicated",
)
RIGHTS_UNREADABLE = Kind(
    code="ldap-rights-unreadable",
    severity=Severity.PROBLEM,
    area=_AREA,
    meaning="The bind identity may not read who may write as whom: where From is enforced, mail with a From that is not"
    " plainly the user's own waits (451) rather than be refused.",
    remedy="bring the access rule up to date on this server (ldapmilter schema --acl); cn=config is not replicated",
)
STOPPED_ANSWERING = _outage(
    code="ldap-stopped-answering",
    meaning="The server accepted the connection and then did not answer a request.",
    remedy="look at slapd's log on that server",
)

KINDS = (
    UNREACHABLE,
    TLS_FAILED,
    CLEARTEXT,
    CERTIFICATE_EXPIRING,
    CERTIFICATE_NEARLY_EXPIRED,
    BIND_REFUSED,
    SCHEMA_MISSING,
    UNREADABLE,
    RIGHTS_UNREADABLE,
    STOPPED_ANSWERING,
)
_STEPS = {"connect": UNREACHABLE, "tls": TLS_FAILED, "bind": BIND_REFUSED}
_LOCAL = ("ldap://127.", "ldap://localhost", "ldap://[::1]")
_UNDEFINED_ATTRIBUTE = 17
_NO_SUCH_ATTRIBUTE = 16


def check(
    settings: LdapSettings,
    endpoints: Endpoints,
    report: Report,
    *,
    mail_user: MailUser | None,
    now: float,
    follows: bool = True,
) -> Connection | None:
    """Look at every server; return a connection to the first on which the policy can be read.

    Args:
        settings: the bind identity, and the attributes that hold policy.
        endpoints: the servers, and how they are secured.
        report: what to add to.
        mail_user: an ordinary mail user whose view is tried; ``None``: none was given.
        now: seconds since the epoch.
        follows: whether changes are to be followed (``[ldap] follow_changes``).
    """
    if mail_user is None:
        report.add(visibility.USER_UNTRIED.found("no mail user was given"))
    change_numbers: dict[str, dict[str, str]] = {}
    usable: Connection | None = None
    up = 0
    for uri in endpoints.uris:
        server = _connect(uri, settings, endpoints, report)
        if server is None:
            continue
        up += 1
        try:
            readable = _look(server, settings, endpoints, report, mail_user=mail_user, now=now, follows=follows)
            change_numbers[uri] = read_change_numbers(server)
        except (ServerFailed, Refused) as error:
            report.add(STOPPED_ANSWERING.found(f"{uri}: {error}"))
            readable = False
        if readable and usable is None:
            usable = server
        else:
            server.close()
    compare_replicas(change_numbers, report, now=now)
    report.directory_asked = report.directory_asked or usable is not None
    report.figures["ldap_servers"] = len(endpoints.uris)
    report.figures["ldap_servers_up"] = up
    return usable


def _connect(uri: str, settings: LdapSettings, endpoints: Endpoints, report: Report) -> Connection | None:
    try:
        password = settings.read_password() if settings.bind_dn else ""
    except ConfigError as error:
        report.add(BIND_REFUSED.found(f"{uri}: {error}"))
        return None
    try:
        return connect(
            uri,
            endpoints,
            Credentials(dn=settings.bind_dn, password=password),
            seconds=settings.connect_timeout,
        )
    except CannotConnect as error:
        # A server that takes the connection and then says nothing has refused nothing.
        kind = STOPPED_ANSWERING if error.silent else _STEPS[error.step]
        report.add(kind.found(f"{uri}: {error}"))
    except ConfigError as error:  # of ca_file, or of the URI's security
        report.add(TLS_FAILED.found(f"{uri}: {error}"))
    return None


def _look(
    server: Connection,
    settings: LdapSettings,
    endpoints: Endpoints,
    report: Report,
    *,
    mail_user: MailUser | None,
    now: float,
    follows: bool,
) -> bool:
    """Look at one server; return whether the policy can be read there."""
    _security(server, report, now=now)
    samples = _samples(server)
    missing: set[str] = set()

    def compare_any(dn: str, attribute: str) -> int:
        return server.compare(dn, attribute, value_for(attribute))

    def compare(dn: str, attribute: str) -> int:
        code = compare_any(dn, attribute)
        if code == _UNDEFINED_ATTRIBUTE:
            missing.add(attribute)
            return _NO_SUCH_ATTRIBUTE
        return code

    hidden = unreadable(samples, settings.policy_attributes, compare)
    # Every Zimbra has some of each: where none is seen they are hidden, and there is nothing to compare.
    hidden += [f"no {kind} can be seen" for kind in SAMPLE_MARKS if kind not in samples]
    if not (hidden or missing):
        hidden += unsearchable(samples, asserted(samples, settings.policy_attributes, server))
    if missing:
        report.add(SCHEMA_MISSING.found(f"{server.uri}: the schema lacks {', '.join(map(_meant, sorted(missing)))}"))
    if hidden:
        who = settings.bind_dn or "anonymous"
        why = why_hidden(settings.bind_dn, settings.policy_attributes, samples.values(), server.compare)
        report.add(UNREADABLE.found(f"{server.uri}: bound as {who}: {'; '.join(hidden)}; {why}"))
    if not hidden and (rights := unreadable_rights(samples, compare_any)):
        report.add(RIGHTS_UNREADABLE.found(f"{server.uri}: {'; '.join(rights)}"))
    if not missing and not hidden:
        kinds = ", ".join(samples)
        report.fine(
            _AREA, f"{server.uri}: bound as {settings.bind_dn or 'anonymous'}; schema and policy readable ({kinds})"
        )
    # Without our schema there is no class of ours that could show.
    own_class = any(map(is_ours, {*settings.policy_attributes} - missing))
    visibility.check(server, settings, endpoints, samples, report, mail_user=mail_user, own_class=own_class)
    indexes.check(server, report)
    if follows and not hidden and not missing:
        following.check(server, report)
    return not missing and not hidden


def _days(number: int) -> str:
    return f"{number} day{'' if number == 1 else 's'}"


def _meant(attribute: str) -> str:
    """Return an attribute's name, with the one of ours that it probably is where it is misspelt."""
    defaults = (
        option.default for options in SECTIONS.values() for key, option in options.items() if "attributes" in key
    )
    ours = {name.lower(): name for names in defaults for name in (names or "").split()}
    near = similar(attribute, ours) if is_ours(attribute) and attribute.lower() not in ours else None
    return f"{attribute} (as config.ini spells it; did you mean {ours[near]}?)" if near is not None else attribute


def _security(server: Connection, report: Report, *, now: float) -> None:
    uri = server.uri
    ends = server.certificate_ends
    if ends is None:
        if uri.lower().startswith("ldap://") and not uri.lower().startswith(_LOCAL):
            report.add(CLEARTEXT.found(f"{uri}: no TLS"))
        return
    days = int((ends - now) // _DAY)
    report.figures["certificate_days"] = min(days, report.figures.get("certificate_days", days))
    text = f"{uri}: the certificate expires in {_days(days)}"
    if days < NEARLY_EXPIRED_DAYS:
        report.add(CERTIFICATE_NEARLY_EXPIRED.found(text))
    elif days < EXPIRING_DAYS:
        report.add(CERTIFICATE_EXPIRING.found(text))
    else:
        report.fine(_AREA, f"{uri}: encrypted; the certificate is valid for {_days(days)} more")


def _samples(server: Connection) -> Mapping[str, str]:
    """Return the DN of one entry of each kind: those that every Zimbra has, a domain and an account."""
    samples = dict(ALWAYS_THERE)
    for kind, object_class in (("domain", "zimbraDomain"), ("account", "zimbraAccount")):
        wanted = And((Equal("objectClass", object_class), Present(SAMPLE_MARKS[kind])))
        found = server.search("", "sub", wanted, ("objectClass", SAMPLE_MARKS[kind]), most=1)
        samples.update((kind, entry.dn) for entry in found if kind_of(entry) == kind)
    return samples
