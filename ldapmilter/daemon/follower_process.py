"""The process that follows the changes of the directory: it asks every second, and tells its parent.

A process of its own, as a search may hang in places where no deadline reaches (a name that is not resolved), and the
parent and the workers have mail to look after.
"""

from __future__ import annotations

import gc
import logging
import os
import select
import signal
import time
import traceback
from typing import TYPE_CHECKING, NoReturn

from ldapmilter.chunks import chunks
from ldapmilter.daemon.channel import encode
from ldapmilter.daemon.log import LogWriter
from ldapmilter.daemon.processes import close_other_descriptors, have_signal_when_parent_dies
from ldapmilter.directory.following.follower import Follower
from ldapmilter.directory.ldap.followed import FollowedLdapServer
from ldapmilter.directory.searches import Loading
from ldapmilter.opening import endpoints_of, ldap_settings

if TYPE_CHECKING:
    import socket

    from ldapmilter.config import Config
    from ldapmilter.daemon.channel import Message
    from ldapmilter.daemon.log import LogTarget
    from ldapmilter.directory.backend.raw_entry import RawEntry

_log = logging.getLogger(__name__)

EVERY_SECONDS = 1.0
_ENTRIES = 200
"""Changed entries in one message to the workers."""
_FAILED = 70
"""EX_SOFTWARE."""


def become_follower(config: Config, channel: socket.socket, log: LogTarget) -> NoReturn:
    """Turn this process, which has just been forked, into the follower; never returns."""
    status = _FAILED
    try:
        have_signal_when_parent_dies(signal.SIGKILL)  # it holds nothing that could be lost
        close_other_descriptors({0, 1, 2, channel.fileno()})
        for number in (signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        for number in (signal.SIGINT, signal.SIGHUP):  # those are the parent's
            signal.signal(number, signal.SIG_IGN)
        signal.set_wakeup_fd(-1)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        gc.freeze()
        writer = LogWriter(log)
        _follow(config, channel)
        status = 0
        writer.close()
    except BaseException:  # noqa: BLE001 - a forked copy of the parent must not go on as the parent
        traceback.print_exc()
    finally:
        os._exit(status)


def _follow(config: Config, channel: socket.socket) -> None:
    """Look every second, until the parent is gone."""
    loading = Loading(policy_attributes=config.policy.attributes(), search_base=config.ldap.search_base)
    server = FollowedLdapServer(ldap_settings(config), endpoints_of(config), loading.asked.all, time.monotonic)
    follower = Follower(server=server, clock=time.monotonic, wall_clock=time.time)
    while True:
        began = time.monotonic()
        news = follower.look()
        try:
            if news.outdated:
                channel.sendall(encode({"outdated": news.outdated}))
            for some in chunks(news.entries, _ENTRIES):
                channel.sendall(encode({"changed": [as_told(raw) for raw in some]}))
            state = follower.state
            channel.sendall(
                encode(
                    {
                        "state": {
                            "uri": state.uri,
                            "why_not": state.why_not,
                            "caught_up_at": state.caught_up_at,
                            "changes": state.changes,
                            "outdated": state.outdated,
                        }
                    }
                )
            )
        except OSError:
            return
        left = began + EVERY_SECONDS - time.monotonic()
        readable, _, _ = select.select([channel], [], [], max(0.0, left))
        if readable:  # the parent says nothing: it has ended
            return


def as_told(raw: RawEntry) -> Message:
    """Return an entry as it travels to the workers."""
    return {"dn": raw.dn, "attributes": {name: list(values) for name, values in raw.attributes.items()}}
