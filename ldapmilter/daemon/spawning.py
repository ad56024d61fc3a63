"""Starts a worker: a fork of the parent, with a channel to it."""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import time
from typing import TYPE_CHECKING

from msgspec import Struct

from ldapmilter.daemon.processes import signals_held_back
from ldapmilter.daemon.worker import WorkerSockets, become_worker
from ldapmilter.daemon.worker_handle import WorkerHandle

if TYPE_CHECKING:
    from collections.abc import Callable

    from ldapmilter.daemon.active_configuration import ActiveConfiguration
    from ldapmilter.daemon.channel import Message
    from ldapmilter.daemon.listener import Listener
    from ldapmilter.daemon.log import LogTarget


class Spawner(Struct, frozen=True, kw_only=True):
    """What all workers of a parent have in common."""

    log: LogTarget
    libmilter: int
    """The descriptor that libmilter accepts from."""
    most_connections: int
    """Of one worker."""

    def spawn(
        self, active: ActiveConfiguration, listener: Listener, put_off: Callable[[WorkerHandle, Message], None]
    ) -> WorkerHandle:
        """Start a worker.

        Args:
            active: the configuration in force.
            listener: what the worker accepts from.
            put_off: see :class:`WorkerHandle`.

        Raises:
            OSError: the system has no process or descriptor left; nothing stays open.
        """
        with contextlib.ExitStack() as on_failure:
            channel, handover = socket.socketpair(), socket.socketpair()
            for end in (*channel, *handover):
                on_failure.callback(end.close)
            gc.collect()
            if not gc.get_freeze_count():
                # Once: a later collection would copy the pages that this process shares with earlier workers.
                gc.freeze()
            with signals_held_back():
                pid = os.fork()
                if pid == 0:
                    sockets = WorkerSockets(
                        listening=listener.socket, libmilter=self.libmilter, channel=channel[1], handover=handover[1]
                    )
                    become_worker(active, sockets, self.log, active.config.file, self.most_connections)
            on_failure.pop_all()
        channel[1].close()
        handover[1].close()
        return WorkerHandle(pid, channel[0], time.monotonic, handover=handover[0], put_off=put_off)
