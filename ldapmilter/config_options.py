"""The sections and options of ``config.ini``: the name, the default and the reader of each; how one section is read.

``config.ini.example`` has the words for each; ``scripts/tables`` makes ldapmilter.ini(5) from both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ldapmilter import config_text, options
from ldapmilter.delivery import relay_options
from ldapmilter.delivery.next_hop import parse_next_hop_for, parse_next_hops
from ldapmilter.errors import ConfigError
from ldapmilter.options import Option
from ldapmilter.policy.refusal_text import read_reject_text
from ldapmilter.policy.service_logins import read_service_logins

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_HOUR = 3600
_DAY = 24 * _HOUR
_MODE = options.choice("apply", "observe", "pass")
_OWN_MODE = Option("", lambda value: _MODE(value) if value else "")
"""The mode of one part; empty: as ``[policy] mode`` says."""
_FAILURE = options.choice("tempfail", "accept")
_INVALID = options.choice("tempfail", "ignore")


def _copy_section(sent: str, received: str, inherit: str, invalid_value: str, confidential: str) -> dict[str, Option]:
    return {
        "sent_attributes": Option(sent, options.attributes),
        "received_attributes": Option(received, options.attributes),
        "inherit": Option(inherit, options.choice("override", "union")),
        "invalid_value": Option(invalid_value, _INVALID),
        "confidential": Option(confidential, options.boolean),
        "delivery": Option("direct", options.choice("direct", "tracked", "journal")),
        "mode": _OWN_MODE,
    }


SECTIONS: Mapping[str, Mapping[str, Option]] = {
    "milter": {
        "socket": Option("unix:/run/ldapmilter/milter.sock", options.milter_socket),
        "socket_mode": Option("0660", options.octal_mode),
        "socket_group": Option("postfix", options.group),
        "workers": Option("auto", options.workers),
        "enable_original_recipient": Option("auto", options.choice("auto", "yes", "no")),
    },
    "ldap": {
        "uri": Option(None, options.uris),
        "bind_dn": Option("", options.dn),
        "bind_password_file": Option("", options.path),
        "starttls": Option("yes", options.boolean),
        "ca_file": Option("", options.path),
        "zimbra_localconfig": Option("", options.path),
        "search_base": Option("", options.dn),
        "connect_timeout": Option("3", options.seconds(0.1, 60)),
        "lookup_deadline": Option("10", options.seconds(0.1, 300)),
        "connections_per_worker": Option("4", options.whole(1, 64)),
        "follow_changes": Option("auto", options.choice("auto", "no")),
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
        "service_logins": Option("", read_service_logins),
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
        "no",
    ),
    "copy legal": _copy_section(
        "ldapMilterLegalBcc ldapMilterLegalSentBcc",
        "ldapMilterLegalBcc ldapMilterLegalReceivedBcc",
        "union",
        "tempfail",
        "yes",
    ),
    "from": {
        "sender_attributes": Option("ldapMilterSenderFromRewrite", options.attributes),
        "recipient_attributes": Option("ldapMilterRecipientFromRewrite", options.attributes),
        "enforce_attributes": Option("ldapMilterFromEnforce", options.attributes),
        "match_members": Option("yes", options.boolean),
        "invalid_value": Option("ignore", _INVALID),
        "reply_to": Option("keep", options.choice("keep", "author")),
        "original_from_header": Option("", options.header_name),
        "sender": Option("keep", options.choice("keep", "author")),
        "reject_text": Option("", read_reject_text),
        "mode": _OWN_MODE,
    },
    "lists": {
        "from_attributes": Option("ldapMilterListFrom", options.attributes),
        "reply_to_attributes": Option("ldapMilterListReplyTo", options.attributes),
        "headers_attributes": Option("ldapMilterListHeaders", options.attributes),
        "header_field_attributes": Option("ldapMilterListHeaderField", options.attributes),
        "tag_attributes": Option("ldapMilterListTag", options.attributes),
        "bounces_attributes": Option("ldapMilterListBounces", options.attributes),
        "inherit": Option("override", options.choice("override", "union")),
        "mode": _OWN_MODE,
    },
    "relay": {
        "listen": Option("", lambda value: options.milter_socket(value) if value else None),
        "socket_mode": Option("0660", options.octal_mode),
        "socket_group": Option("postfix", options.group),
        "postfix_dir": Option("", options.path),
        "domain": Option("copies.invalid", relay_options.domain),
        "key_file": Option("/var/lib/ldapmilter/relay.key", relay_options.file),
        "next_hop": Option("", parse_next_hops),
        "next_hop_for": Option("", parse_next_hop_for),
        "starttls": Option("may", options.choice("no", "may", "must")),
        "ca_file": Option("", options.path),
        "envelope_sender": Option("<>", relay_options.envelope_sender),
        "report_from": Option("", relay_options.report_from),
        "state": Option("/var/lib/ldapmilter/copies.sqlite", relay_options.file),
        "kept": Option("/var/lib/ldapmilter/kept", relay_options.file),
        "keep_after": Option("172800", options.seconds(60, 30 * _DAY)),
        "late_after": Option("900", options.seconds(1, 30 * _DAY)),
    },
    "check": {
        "accept": Option("", options.findings),
    },
    "control": {
        "socket": Option(config_text.DEFAULT_CONTROL, options.socket_path),
        "trace_messages": Option("1000", options.whole(0, 100_000)),
    },
    "audit": {
        "file": Option("/var/log/ldapmilter/audit.jsonl", options.path),
    },
    "coverage": {
        "history": Option("", options.path),
    },
    "metrics": {
        "listen": Option("", options.host_and_port),
        "confidential": Option("no", options.boolean),
    },
}
"""Every section with its options. A site may add sections ``[copy NAME]`` (:data:`OTHER_COPY_CLASS`)."""

OTHER_COPY_CLASS = _copy_section("", "", "override", "tempfail", "yes")
"""The options of a ``[copy NAME]`` that is not in :data:`SECTIONS`."""


def shown(text: str) -> str:
    """Return a value as part of a line: one of several lines in one, and nothing that steers a terminal."""
    line = " ".join(text.split())
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in line)


def read_section(file: Path, section: str, texts: Mapping[str, str], table: Mapping[str, Option]) -> dict[str, Any]:
    """Return the values of one section by the names of its options.

    Args:
        file: the configuration, for errors.
        section: its name.
        texts: what it gives, by option.
        table: its options.

    Raises:
        ConfigError: an option is missing, or has a value that it does not take.
    """
    values: dict[str, Any] = {}
    for name, option in table.items():
        text = texts.get(name, option.default)
        if not text and option.default is None and texts.get("zimbra_localconfig"):
            values[name] = ()  # Zimbra's own configuration names the servers
            continue
        if text is None or (option.default is None and not text):
            msg = f"{file}: [{section}] {name} is missing; it has no default: allowed is {_wanted(option)}"
            raise ConfigError(msg)
        try:
            values[name] = option.read(text)
        except ValueError as error:
            msg = f"{file}: [{section}] {name} = {shown(text)}: allowed is {error}"
            raise ConfigError(msg) from None
    return values


def _wanted(option: Option) -> str:
    """Return what an option takes, by its refusal of nothing."""
    try:
        option.read("")
    except ValueError as error:
        return str(error)
    return "any text"
