"""How a process is forked here, and what every one begins with."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
_prctl = ctypes.CDLL(None).prctl
_PR_SET_PDEATHSIG = 1


@contextlib.contextmanager
def signals_held_back() -> Iterator[None]:
    """Fork inside: a signal that arrived before the child has its own handlers would run the parent's."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


def have_signal_when_parent_dies(number: signal.Signals) -> None:
    """Have the kernel send this process a signal when its parent is gone (prctl(2))."""
    _prctl(_PR_SET_PDEATHSIG, int(number))


def close_other_descriptors(keep: Collection[int]) -> None:
    """Let go of the parent's: another worker's channel held here would outlive the parent."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - names, not paths
        if int(name) not in keep:
            with contextlib.suppress(OSError):
                os.close(int(name))
