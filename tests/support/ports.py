"""Free ports and bounded waiting.

Ports are drawn below the kernel's ephemeral range: a server that is stopped and started
again must find its port free, and an outgoing connection of some other process may hold
any port of that range. Test processes that run side by side draw from disjoint ports, for
the same reason: the port of a server that is down for a while is not another's to take.
"""

from __future__ import annotations

import os
import random
import socket
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

LOOPBACK: Final = "127.0.0.1"
_PROCESSES: Final = 16  # more test processes than that share their ports
_PROCESS: Final = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _PROCESSES
_RANGE: Final = range(12000, 32000)[_PROCESS::_PROCESSES]
_handed_out: set[int] = set()

HANG: Final = 120.0
"""Seconds after which something is taken to hang: the guard of whatever waits in real time. It measures
nothing: on a busy machine what takes a moment elsewhere may take a minute."""


def free_port() -> int:
    """Return a loopback TCP port that nobody listens on and that this process never gave away.

    Raises:
        OSError: no free port turned up.
    """
    for _ in range(200):
        port = random.choice(_RANGE)
        if port in _handed_out:
            continue
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
        _handed_out.add(port)
        return port
    message = "no free port"
    raise OSError(message)


def wait_until(condition: Callable[[], bool], what: str, timeout: float = HANG, pause: float = 0.01) -> None:
    """Return as soon as `condition` holds; it is asked at least once.

    Raises:
        TimeoutError: it did not hold within `timeout` seconds; the message names `what`.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() >= deadline:
            message = f"{what}: not within {timeout:g} s"
            raise TimeoutError(message)
        time.sleep(pause)


def happens(condition: Callable[[], bool], within: float) -> bool:
    """Tell whether `condition` holds within some seconds: for whom there is another way when it does not."""
    try:
        wait_until(condition, "it", within)
    except TimeoutError:
        return False
    return True


def listens(port: int, host: str = LOOPBACK) -> bool:
    """Tell whether something accepts connections on `port`."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0
