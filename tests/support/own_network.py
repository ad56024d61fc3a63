"""A network of one's own, with nothing but a loopback: for addresses that would reach beyond it.

In Linux a network namespace belongs to a thread: what runs in :func:`in_own_network`, and whatever it
starts, sees no other interface. Unix sockets reach across.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import ParamSpec

    P = ParamSpec("P")
    ReturnT = TypeVar("ReturnT")

# linux/sched.h, linux/sockios.h, net/if.h
_CLONE_NEWNET: Final = 0x40000000
_SIOCSIFFLAGS: Final = 0x8914
_IFF_UP: Final = 1


def in_own_network(function: Callable[P, ReturnT]) -> Callable[P, ReturnT]:
    """Run a function in a thread that has only a loopback of its own; needs root.

    Raises:
        OSError: the kernel does not allow it.
    """

    @wraps(function)
    def run(*arguments: P.args, **options: P.kwargs) -> ReturnT:
        with ThreadPoolExecutor(1, initializer=_leave) as own:
            return own.submit(function, *arguments, **options).result()

    return run


def _leave() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))
