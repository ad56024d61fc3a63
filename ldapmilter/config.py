"""``config.ini``: what its sections become, and what is refused.

An INI file read by configparser without interpolation; ``;`` starts a comment anywhere. Every
option has a default but ``[ldap] uri``. Whatever cannot be used is refused with file, section,
option, value and what is allowed: a policy engine that guesses is worse than one that stops.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct
from msgspec.structs import replace

from ldapmilter import config_text, options
from ldapmilter.config_options import OTHER_COPY_CLASS, SECTIONS, read_section, shown
from ldapmilter.delivery.settings import RelaySettings
from ldapmilter.directory.cache.answers import Limits
from ldapmilter.directory.groups import GroupLimits
from ldapmilter.errors import ConfigError
from ldapmilter.policy.identity import IdentityPolicy
from ldapmilter.policy.settings import CopyClass, FromPolicy, ListsPolicy, Policy
from ldapmilter.secret_file import credential, read_secret

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from ldapmilter.policy.effect import Mode
    from ldapmilter.socket_address import SocketAddress

DEFAULT_PATH = Path(config_text.DEFAULT_PATH)

_COPY = "copy NAME"
_COPY_NAME = re.compile(r"copy [a-z0-9][a-z0-9_-]*\Z")

OriginalRecipient = Literal["auto", "yes", "no"]


class MilterSettings(Struct, frozen=True, kw_only=True):
    """The ``[milter]`` section."""

    socket: SocketAddress
    socket_mode: int
    socket_group: str
    workers: int
    """Processes that share the socket."""
    enable_original_recipient: OriginalRecipient = "auto"
    """Postfix's parameter of that name; ``auto``: as the Postfix of this host says."""


class LdapConfig(Struct, frozen=True, kw_only=True):
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
    follow_changes: str
    """``auto``: changes of the directory are followed where it lets them be seen; ``no``."""

    @property
    def follows(self) -> bool:
        """Whether changes of the directory are to be followed."""
        return self.follow_changes == "auto" and not self.embedded

    @property
    def embedded(self) -> bool:
        """Whether the directory is an LDIF file in memory, without a bind."""
        return bool(self.uris) and self.uris[0].lower().startswith(options.LDIF_PREFIX)


class Config(Struct, frozen=True, kw_only=True):
    """A whole, valid configuration."""

    file: Path
    text: str
    """The file as it was read, to make the same configuration of it in another process."""
    milter: MilterSettings
    ldap: LdapConfig
    cache: Limits
    groups: GroupLimits
    policy: Policy
    control: Path | None
    """The control socket; ``None``: there is none."""
    trace_messages: int
    """How many messages each worker remembers."""
    audit: Path | None
    """The audit file; ``None``: nothing is kept."""
    coverage_history: Path | None
    """The directory of ``coverage --save``; ``None``: no day is kept."""
    metrics: tuple[str, int] | None
    """Host and port on which Prometheus finds the metrics; ``None``: nowhere."""
    confidential_metrics: bool
    """Whether they hold what moves with confidential copies."""
    relay: RelaySettings
    """How copies travel that are tracked or journaled."""
    accepted: tuple[tuple[str, str], ...] = ()
    """Findings of ``check`` that are known and accepted: code, and subject (empty: whatever it is about)."""


def load(file: Path | str) -> Config:
    """Read a configuration file.

    Raises:
        ConfigError: the file cannot be read, or something in it cannot be used.
    """
    return parse(config_text.read(file), Path(file))


def parse(text: str, file: Path) -> Config:
    """Return the configuration that a file's text spells.

    Raises:
        ConfigError: something in it cannot be used.
    """
    return _build(file, text, config_text.sections(text, file))


def _build(file: Path, text: str, given: Mapping[str, Mapping[str, str]]) -> Config:
    tables = dict(SECTIONS)
    for section in given:
        if section not in SECTIONS:
            _check_name(file, section)
            tables[section] = OTHER_COPY_CLASS
    for section, texts in given.items():
        for name in texts:
            if name not in tables[section]:
                near = options.nearest(name, tables[section])
                msg = f"{file}: [{section}] {name} = {shown(texts[name])}: unknown option; did you mean {near}?"
                raise ConfigError(msg)
    # Only now: what is missing, or wrong, may stand under a misspelt name.
    values = {section: read_section(file, section, given.get(section, {}), table) for section, table in tables.items()}
    if (control := values["control"]["socket"]) and f"unix:{control}" == str(values["milter"]["socket"]):
        raise ConfigError(f"{file}: [control] socket = {control}: is [milter] socket; each needs a path of its own")
    for section in given.keys() - SECTIONS.keys():
        _check_use(file, section, given[section])
    ldap = _ldap(file, values["ldap"])
    mode = values["policy"]["mode"]
    relay = _relay(file, values)
    copy_classes = tuple(
        CopyClass(
            name=section.removeprefix("copy "),
            relay_domain=relay.domain if relay.listen is not None else None,
            next_hop_domains=None if relay.next_hop else frozenset(relay.next_hop_for),
            **{**texts, "mode": texts["mode"] or mode},
        )
        for section, texts in values.items()
        if section.startswith("copy ")
    )
    from_policy = FromPolicy(**{**values["from"], "mode": values["from"]["mode"] or mode})
    lists_mode = values["lists"]["mode"] or _mode_of_lists(mode, {from_policy.mode, *(c.mode for c in copy_classes)})
    policy = Policy(
        copy_classes=copy_classes,
        from_policy=from_policy,
        lists=ListsPolicy(**{**values["lists"], "mode": lists_mode}),
        mode=mode,
        directory_failure=values["policy"]["directory_failure"],
        max_copies=values["policy"]["max_copies"],
        identity=IdentityPolicy(**values["identity"]),
        relay_domain=relay.domain if relay.listen is not None else None,
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
        trace_messages=values["control"]["trace_messages"],
        audit=values["audit"]["file"],
        coverage_history=values["coverage"]["history"],
        metrics=values["metrics"]["listen"],
        confidential_metrics=values["metrics"]["confidential"],
        relay=relay,
        accepted=values["check"]["accept"],
    )


def _mode_of_lists(mode: Mode, others: Collection[Mode]) -> Mode:
    """Return the mode of ``[lists]`` where it has none of its own.

    A trial in which every other part has been told to apply nothing holds up no mail for the sake of lists.
    """
    if mode != "apply" or "apply" in others:
        return mode
    return "observe" if "observe" in others else "pass"


def _check_name(file: Path, section: str) -> None:
    """Let a section be there that is none of the known ones.

    Raises:
        ConfigError: it is no ``[copy NAME]``.
    """
    if _COPY_NAME.match(section):
        return
    if section.startswith("copy"):
        raise ConfigError(f"{file}: unknown section [{section}]; [{_COPY}] has a NAME made of a-z, 0-9, - and _")
    near = options.nearest(section, [*SECTIONS, _COPY])
    raise ConfigError(f"{file}: unknown section [{section}]; did you mean [{near}]?")


def _check_use(file: Path, section: str, texts: Mapping[str, str]) -> None:
    """Refuse a class that copies nothing without saying so: a known one, misspelt.

    Raises:
        ConfigError: neither direction has attributes, nor is one switched off.
    """
    if not texts.keys() & {"sent_attributes", "received_attributes"}:
        near = options.nearest(section, [name for name in SECTIONS if name.startswith("copy ")])
        nothing = "has neither sent_attributes nor received_attributes, so nothing would be copied"
        msg = f"{file}: [{section}]: {nothing}; did you mean [{near}]?"
        raise ConfigError(msg)


def _ldap(file: Path, values: dict[str, Any]) -> LdapConfig:
    ldap = LdapConfig(uris=values.pop("uri"), **values)
    if ldap.embedded:
        return ldap
    if ldap.bind_dn and ldap.bind_password_file is None:
        msg = f"{file}: [ldap] bind_dn = {ldap.bind_dn}: needs bind_password_file, a file that holds its password"
        raise ConfigError(msg)
    if ldap.bind_password_file is not None:
        secret = ldap.bind_password_file
        if credential(secret) is None:
            # What the verbs find in a shell, where systemd's credentials are not to be had.
            ldap = replace(ldap, bind_password_file=file.parent / secret)
    return ldap


def _relay(file: Path, values: Mapping[str, dict[str, Any]]) -> RelaySettings:
    """Return the ``[relay]`` section, where all is there that the copy classes need of it.

    Raises:
        ConfigError: something is missing, or in the way.
    """
    given = values["relay"]
    relay = RelaySettings(**{**given, "report_from": given["report_from"] or f"journal@{given['domain']}"})
    if credential(relay.key_file) is None:
        relay = replace(relay, key_file=file.parent / relay.key_file)
    relay = replace(relay, state=file.parent / relay.state, kept=file.parent / relay.kept)
    if relay.listen is not None and relay.listen == values["milter"]["socket"]:
        raise ConfigError(
            f"{file}: [relay] listen = {relay.listen}: is [milter] socket; the relay needs one of its own"
        )
    for section, texts in values.items():
        if section.startswith("copy ") and texts["delivery"] != "direct":
            what = f"{file}: [{section}] delivery = {texts['delivery']}"
            if relay.listen is None:
                msg = f"{what}: needs [relay] listen, where Postfix hands the copies over"
            elif not (relay.next_hop or relay.next_hop_for):
                msg = f"{what}: needs [relay] next_hop, the server that takes the copies, or next_hop_for"
            elif values["audit"]["file"] is None:
                msg = f"{what}: needs [audit] file: it alone says where a copy goes"
            else:
                continue
            raise ConfigError(msg)
    return relay


def bind_password(config: Config) -> str:
    """Return the password to bind with, empty where none is configured; only what binds asks for it.

    Raises:
        ConfigError: it cannot be read, is empty, or any user may read it.
    """
    file = config.ldap.bind_password_file
    if file is None or config.ldap.embedded:
        return ""
    return read_secret(file, f"{config.file}: [ldap] bind_password_file")
