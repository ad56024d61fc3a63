"""``config.ini``: what may stand in it, and what it becomes.

An INI file read by configparser without interpolation; ``;`` starts a comment anywhere. Every
option has a default but ``[ldap] uri``. Whatever cannot be used is refused with file, section,
option, value and what is allowed: a policy engine that guesses is worse than one that stops.
"""

from __future__ import annotations

import configparser
import os
import re
import stat
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ldapmilter import options
from ldapmilter.directory.cache import Limits
from ldapmilter.directory.groups import GroupLimits
from ldapmilter.errors import ConfigError
from ldapmilter.identity import IdentityPolicy
from ldapmilter.options import Option
from ldapmilter.policy.model import CopyClass, FromPolicy, Policy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ldapmilter.milter.socket_address import SocketAddress

DEFAULT_PATH = Path("/etc/ldapmilter/config.ini")

_HOUR = 3600
_DAY = 24 * _HOUR
_MODE = options.choice("apply", "observe", "pass")
_FAILURE = options.choice("tempfail", "accept")
_INVALID = options.choice("tempfail", "ignore")


def _copy_section(sent: str, received: str, inherit: str, invalid_value: str) -> dict[str, Option]:
    return {
        "sent_attributes": Option(sent, options.attributes),
        "received_attributes": Option(received, options.attributes),
        "inherit": Option(inherit, options.choice("override", "union")),
        "invalid_value": Option(invalid_value, _INVALID),
        "mode": Option("", lambda value: _MODE(value) if value else ""),
    }


SECTIONS: Mapping[str, Mapping[str, Option]] = {
    "milter": {
        "socket": Option("unix:/run/ldapmilter/milter.sock", options.milter_socket),
        "socket_mode": Option("0660", options.octal_mode),
        "socket_group": Option("postfix", options.text),
        "workers": Option("auto", options.workers),
    },
    "ldap": {
        "uri": Option(None, options.uris),
        "bind_dn": Option("", options.text),
        "bind_password_file": Option("", options.path),
        "starttls": Option("yes", options.boolean),
        "ca_file": Option("", options.path),
        "zimbra_localconfig": Option("", options.path),
        "search_base": Option("", options.text),
        "connect_timeout": Option("3", options.seconds(0.1, 60)),
        "lookup_deadline": Option("10", options.seconds(0.1, 300)),
        "connections_per_worker": Option("4", options.whole(1, 64)),
    },
    "cache": {
        "ttl": Option("300", options.seconds(0, _DAY)),
        "negative_ttl": Option("60", options.seconds(0, _DAY)),
        "stale_ttl": Option("86400", options.seconds(0, 30 * _DAY)),
        "max_entries": Option("100000", options.whole(100, 100_000_000)),
    },
    "identity": {
        "mailbox_hosts": Option("auto", options.networks),
        "trust_x_authenticated_user": Option("no", options.boolean),
        "unknown_login": Option("tempfail", _FAILURE),
        "reinjection_ports": Option("10025 10028 10029 10030", options.ports),
        "own_relays": Option("", options.cidr_blocks),
    },
    "groups": {
        "max_members": Option("50000", options.whole(1, 10_000_000)),
        "max_depth": Option("20", options.whole(1, 1000)),
    },
    "policy": {
        "mode": Option("apply", _MODE),
        "directory_failure": Option("tempfail", _FAILURE),
        "max_copies": Option("10000", options.whole(1, 1_000_000)),
    },
    "copy archive": _copy_section(
        "ldapMilterArchiveBcc ldapMilterArchiveSentBcc",
        "ldapMilterArchiveBcc ldapMilterArchiveReceivedBcc",
        "override",
        "ignore",
    ),
    "copy legal": _copy_section(
        "ldapMilterLegalBcc ldapMilterLegalSentBcc",
        "ldapMilterLegalBcc ldapMilterLegalReceivedBcc",
        "union",
        "tempfail",
    ),
    "from": {
        "sender_attributes": Option("ldapMilterSenderFromRewrite", options.attributes),
        "recipient_attributes": Option("ldapMilterRecipientFromRewrite", options.attributes),
        "enforce_attributes": Option("ldapMilterFromEnforce", options.attributes),
        "match_members": Option("yes", options.boolean),
        "invalid_value": Option("ignore", _INVALID),
        "reply_to": Option("keep", options.choice("keep", "author")),
        "original_from_header": Option("", options.header_name),
        "mode": Option("", lambda value: _MODE(value) if value else ""),
    },
    "control": {
        "socket": Option("/run/ldapmilter/control.sock", options.socket_path),
    },
    "audit": {
        "file": Option("/var/log/ldapmilter/audit.jsonl", options.path),
    },
    "metrics": {
        "listen": Option("", options.host_and_port),
    },
}
"""Every section with its options. ``[copy NAME]`` may be added freely, with the options of these."""

_OTHER_COPY_CLASS = _copy_section("", "", "override", "tempfail")
_COPY_NAME = re.compile(r"copy [a-z0-9][a-z0-9_-]*\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class MilterSettings:
    """The ``[milter]`` section."""

    socket: SocketAddress
    socket_mode: int
    socket_group: str
    workers: int
    """Processes that share the socket."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LdapConfig:
    """The ``[ldap]`` section."""

    uris: tuple[str, ...]
    bind_dn: str
    bind_password_file: Path | None
    starttls: bool
    ca_file: Path | None
    zimbra_localconfig: Path | None
    search_base: str
    connect_timeout: float
    lookup_deadline: float
    connections_per_worker: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A whole, valid configuration."""

    file: Path
    text: str = field(repr=False)
    """The file as it was read, to make the same configuration of it in another process."""
    milter: MilterSettings
    ldap: LdapConfig
    cache: Limits
    groups: GroupLimits
    policy: Policy
    control: Path | None
    """The control socket; ``None``: there is none."""
    audit: Path | None
    """The audit file; ``None``: nothing is kept."""
    metrics: tuple[str, int] | None
    """Host and port on which Prometheus finds the metrics; ``None``: nowhere."""


def load(file: Path) -> Config:
    """Read a configuration file.

    Raises:
        ConfigError: the file cannot be read, or something in it cannot be used.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        msg = f"{file}: cannot be read: {error.strerror}"
        raise ConfigError(msg) from error
    except UnicodeDecodeError as error:
        msg = f"{file}: is not UTF-8: {error}"
        raise ConfigError(msg) from error
    return parse(text, file)


def parse(text: str, file: Path) -> Config:
    """Return the configuration that a file's text spells.

    Raises:
        ConfigError: something in it cannot be used.
    """
    parser = configparser.ConfigParser(
        interpolation=None, inline_comment_prefixes=(";",), default_section="\0", empty_lines_in_values=False
    )
    try:
        parser.read_string(text, source=str(file))
    except configparser.Error as error:
        msg = f"{file}: {' '.join(str(error).split())}"
        raise ConfigError(msg) from error
    sections: dict[str, dict[str, str]] = {}
    for name in parser.sections():
        section = _section_name(name)
        if section in sections:
            msg = f"{file}: [{name}]: the section [{section}] is there twice"
            raise ConfigError(msg)
        sections[section] = dict(parser[name])
    return _build(file, text, sections)


def _section_name(name: str) -> str:
    return " ".join(name.split()).lower()


def _build(file: Path, text: str, given: Mapping[str, Mapping[str, str]]) -> Config:
    values = {section: _section(file, section, given.get(section, {}), table) for section, table in SECTIONS.items()}
    for section, texts in given.items():
        if section in SECTIONS:
            continue
        if not _COPY_NAME.match(section):
            known = [*SECTIONS, "copy NAME"]
            msg = f"{file}: unknown section [{section}]; did you mean [{options.nearest(section, known)}]?"
            raise ConfigError(msg)
        values[section] = _section(file, section, texts, _OTHER_COPY_CLASS)
    ldap = _ldap(file, values["ldap"])
    mode = values["policy"]["mode"]
    policy = Policy(
        copy_classes=tuple(
            CopyClass(name=section.removeprefix("copy "), **{**texts, "mode": texts["mode"] or mode})
            for section, texts in values.items()
            if section.startswith("copy ")
        ),
        from_policy=FromPolicy(**{**values["from"], "mode": values["from"]["mode"] or mode}),
        mode=mode,
        directory_failure=values["policy"]["directory_failure"],
        max_copies=values["policy"]["max_copies"],
        identity=IdentityPolicy(**values["identity"]),
    )
    return Config(
        file=file,
        text=text,
        milter=MilterSettings(**values["milter"]),
        ldap=ldap,
        cache=Limits(**values["cache"]),
        groups=GroupLimits(**values["groups"]),
        policy=policy,
        control=values["control"]["socket"],
        audit=values["audit"]["file"],
        metrics=values["metrics"]["listen"],
    )


def _section(file: Path, section: str, texts: Mapping[str, str], table: Mapping[str, Option]) -> dict[str, Any]:
    for name in texts:
        if name not in table:
            near = options.nearest(name, table)
            msg = f"{file}: [{section}] {name} = {texts[name]}: unknown option; did you mean {near}?"
            raise ConfigError(msg)
    values: dict[str, Any] = {}
    for name, option in table.items():
        text = texts.get(name, option.default)
        if not text and option.default is None and texts.get("zimbra_localconfig"):
            values[name] = ()  # Zimbra's own configuration names the servers
            continue
        if text is None or (option.default is None and not text):
            msg = f"{file}: [{section}] {name} is missing; it has no default"
            raise ConfigError(msg)
        try:
            values[name] = option.read(text)
        except ValueError as error:
            msg = f"{file}: [{section}] {name} = {text}: allowed is {error}"
            raise ConfigError(msg) from None
    return values


def _ldap(file: Path, values: dict[str, Any]) -> LdapConfig:
    ldap = LdapConfig(uris=values.pop("uri"), **values)
    if ldap.uris and ldap.uris[0].lower().startswith("ldif:"):
        return ldap
    if ldap.bind_dn and ldap.bind_password_file is None:
        msg = f"{file}: [ldap] bind_dn = {ldap.bind_dn}: needs bind_password_file, a file that holds its password"
        raise ConfigError(msg)
    if ldap.bind_password_file is not None:
        secret = ldap.bind_password_file
        if _credential(secret) is None:
            # What the verbs find in a shell, where systemd's credentials are not to be had.
            secret = file.parent / secret
            ldap = replace(ldap, bind_password_file=secret)
        read_secret(secret, f"{file}: [ldap] bind_password_file")
    return ldap


def _credential(file: Path) -> Path | None:
    """Return where systemd has put a credential of this bare name (systemd.exec(5), ``LoadCredential``)."""
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    credential = Path(directory or "/", file)
    return credential if directory and len(file.parts) == 1 and credential.exists() else None


def read_secret(file: Path, what: str) -> str:
    """Return the secret in a file, without the line end.

    A bare name is looked for among the systemd credentials (``$CREDENTIALS_DIRECTORY``) first.

    Raises:
        ConfigError: it cannot be read, is empty, or everybody may read it.
    """
    file = _credential(file) or file
    try:
        mode = file.stat().st_mode
        secret = file.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{what} = {file}: cannot be read: {error}"
        raise ConfigError(msg) from error
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        msg = f"{what} = {file}: everybody may read or write it; allowed is mode 0640 or stricter (chmod 0640 {file})"
        raise ConfigError(msg)
    if not secret:
        msg = f"{what} = {file}: is empty; allowed is a file whose first line is the password"
        raise ConfigError(msg)
    return secret
