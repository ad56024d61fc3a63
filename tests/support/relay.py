"""What a relay needs in a test: settings, tokens, and the lines that the milter would have written."""

from __future__ import annotations

import json
import os
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Final

from ldapmilter.delivery.next_hop import parse_next_hop_for, parse_next_hops
from ldapmilter.delivery.settings import RelaySettings
from ldapmilter.delivery.token import TokenKey
from tests.support.audit_lines import events

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

DOMAIN: Final = "copies.invalid"


def relay_settings(
    directory: Path, next_hop: str = "", *, next_hop_for: str = "", keep_after: float = 172_800.0, starttls: str = "no"
) -> RelaySettings:
    """Return the settings of a relay whose files lie in a directory."""
    return RelaySettings(
        listen=None,
        socket_mode=0o660,
        socket_group="",
        postfix_dir=None,
        domain=DOMAIN,
        key_file=directory / "relay.key",
        next_hop=parse_next_hops(next_hop),
        next_hop_for=parse_next_hop_for(next_hop_for),
        starttls=starttls,  # type: ignore[arg-type]
        ca_file=None,
        envelope_sender="",
        report_from="",
        state=directory / "state" / "relay.sqlite",
        kept=directory / "kept",
        keep_after=keep_after,
        late_after=900.0,
    )


def new_token(directory: Path, *, probe: bool = False) -> str:
    """Return a token that the relay of these files takes."""
    return TokenKey.load_or_make(directory / "relay.key").new(probe=probe)


def utc(at: float) -> str:
    """Return a time as the audit spells it."""
    return datetime.fromtimestamp(at, tz=timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def decision(
    tokens: Sequence[str],
    *,
    at: float,
    target: str = "vault@archive.example",
    delivery: str = "tracked",
    queue_id: str = "4F1",
    message_id: str = "<one@example.com>",
    **more: Any,
) -> dict[str, Any]:
    """Return the audit line of a message with copies, as far as the relay reads it."""
    copies = [
        {"address": target, "classes": ["archive"], "delivery": delivery, "token": token, "reasons": []}
        for token in tokens
    ]
    return {
        "format": 1,
        "time": utc(at),
        "host": "mta1",
        "queue_id": queue_id,
        "message_id": message_id,
        "message_ids": [message_id],
        "probe": False,
        "sender": "ann@example.com",
        "offered": ["bob@example.com"],
        "copies": copies,
        "takes_back": None,
        **more,
    }


def write_audit(audit: Path, *lines: dict[str, Any]) -> None:
    """Append lines to an audit file."""
    descriptor = os.open(audit, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "ab") as file:
        for line in lines:
            file.write(json.dumps(line, separators=(",", ":")).encode("ascii") + b"\n")


def audit_lines(audit: Path) -> list[dict[str, Any]]:
    """Return the lines of an audit file."""
    return events(audit)


def ends(audit: Path) -> list[tuple[str, str]]:
    """Return token and state of each end in an audit file."""
    return [(line["token"], line["state"]) for line in audit_lines(audit) if line.get("event") == "copy"]
