"""The command that starts, ends or reloads the daemon here, as ``scripts/install`` tells service managers apart."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    Action = Literal["start", "stop", "restart", "reload"]

_SYSTEMD = "/run/systemd/system"
"""There exactly where systemd runs as the first process (sd_booted(3))."""
_BY_HAND = {
    "start": "ldapmilter run",
    "stop": "kill its process",
    "restart": "kill its process, and ldapmilter run",
    "reload": "kill -HUP its process",
}


def command(action: Action) -> str:
    """Return the command for an action on the daemon."""
    if os.path.isdir(_SYSTEMD):  # noqa: PTH112 - pathlib takes a verb longer than its answer
        return f"systemctl {action} ldapmilter"
    if _has_supervisor():
        return f"supervisorctl {'signal HUP' if action == 'reload' else action} ldapmilter"
    return _BY_HAND[action]


def _has_supervisor() -> bool:
    places = os.environ.get("PATH", "").split(":")
    return any(os.access(f"{place}/supervisorctl", os.X_OK) for place in places if place)
