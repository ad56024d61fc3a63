"""The process of the copy relay: under the parent of ``run``, which gives it its socket, or on its own.

Under the parent it is told by a channel under which configuration it runs, and reports once a second, which is how the
parent knows that it lives. Without its parent it lets copies under way end, and goes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, NoReturn

from ldapmilter.config import parse
from ldapmilter.daemon.background import Background
from ldapmilter.daemon.channel import MAX_REQUEST, Message, RequestRefused, decode, encode
from ldapmilter.daemon.listener import listen_at
from ldapmilter.daemon.log import LogWriter
from ldapmilter.errors import ConfigError, LdapmilterError
from ldapmilter.opening import open_directory
from ldapmilter.relay.current_seal import CurrentSeal
from ldapmilter.relay.journaling import Journaling
from ldapmilter.relay.report import ReportSettings
from ldapmilter.relay.serving import Relay

if TYPE_CHECKING:
    from pathlib import Path

    from ldapmilter.config import Config
    from ldapmilter.daemon.log import LogTarget
    from ldapmilter.opening import OpenDirectory
    from ldapmilter.relay.state import RelayState

_log = logging.getLogger(__name__)

_REPORT_SECONDS: Final = 1.0
_FIRST_LINE_SECONDS: Final = 30.0
_PATIENCE_SECONDS: Final = 15.0
"""For which the relay of a parent before, which ends, is waited for: less than a parent waits for a report."""
_FAILED: Final = 1
_THREADS: Final = 32
"""Large messages that wait for the disk at a time."""


class _NotWaitedFor(ThreadPoolExecutor):
    """Threads for a loop whose end waits for none of them, however long the disk takes."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - the base's
        """Begin nothing more; ``asyncio.run`` would wait, and the process ends right after it."""
        del wait
        super().shutdown(wait=False, cancel_futures=cancel_futures)


class RelayProcess:
    """The one relay of this process."""

    def __init__(self, config: Config, listening: socket.socket, channel: socket.socket | None) -> None:
        """Open what it needs.

        Args:
            config: what it runs under.
            listening: bound; what it accepts from.
            channel: to the parent; ``None``: there is none.

        Raises:
            LdapmilterError: something of it cannot be had.
        """
        self._config = config
        self._listening = listening
        self._channel = channel
        self._opened: OpenDirectory = open_directory(config)
        self._journaling: Journaling | None = None
        if config.audit is None:
            message = f"{config.file}: [audit] file is empty: the relay takes from the audit what copies it is to take"
            raise ConfigError(message)
        self._seal = CurrentSeal(config.audit)
        patience = _PATIENCE_SECONDS if channel is not None else 0.0
        self._relay = Relay(config.relay, config.audit, self._wrapping, patience)
        self._stop_wanted = asyncio.Event()
        self._ready = False

    def _wrapping(self, state: RelayState) -> Journaling:
        self._journaling = Journaling(
            self._opened.directory.for_message, state, _reports(self._config), seal=self._seal
        )
        return self._journaling

    async def run(self) -> int:
        """Serve until SIGTERM or SIGINT, SIGHUP where there is no parent, or its end; return the exit status."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self._stop_wanted.set)
        if self._channel is not None:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)  # that is the parent's
        background = [loop.create_task(self._relay.upkeep.run())]
        if self._channel is not None:
            background += [loop.create_task(self._obey(self._channel))]
        await self._relay.serve(self._listening)
        self._ready = True
        _log.info("the copy relay serves on %s", self._config.relay.listen)
        await self._stop_wanted.wait()
        if not await self._relay.drain():
            _log.warning("the copy relay ends while copies are under way: they may come to their servers again")
        for task in background:
            task.cancel()
        await self._relay.close()
        self._opened.close()
        return 0

    # -- the parent -------------------------------------------------------------------------

    async def _obey(self, channel: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=channel, limit=MAX_REQUEST)
        reporting = asyncio.get_running_loop().create_task(self._report(writer))
        answering = Background()
        with contextlib.suppress(OSError, ValueError):
            while line := await reader.readline():
                answering.begin(self._answer(line, writer))
        reporting.cancel()
        self._stop_wanted.set()  # the parent is gone

    async def _report(self, writer: asyncio.StreamWriter) -> None:
        told_ready = False
        while True:
            writer.write(encode({"report": self._relay.report()}))
            if self._ready and not told_ready:
                told_ready = True
                writer.write(encode({"ready": True}))
            await asyncio.sleep(_REPORT_SECONDS if told_ready else _REPORT_SECONDS / 10)

    async def _answer(self, line: bytes, writer: asyncio.StreamWriter) -> None:
        number: object = None
        try:
            request = decode(line)
            number = request.get("number")
            answer = await self._answered(request)
        except LdapmilterError as error:
            answer = {"error": str(error)}
        except Exception as error:  # noqa: BLE001 - the parent waits for an answer
            _log.exception("unexpected error in a request")
            answer = {"error": f"unexpected {type(error).__name__}: {error}"}
        writer.write(encode({**answer, "number": number}))

    async def _answered(self, request: Message) -> Message:
        if request.get("verb") == "copies":
            return await self._relay.command(request)
        if request.get("verb") == "reload":
            return self._reload(parse(str(request["text"]), self._config.file))
        message = f"no such verb: {request.get('verb')!r}"
        raise RequestRefused(message)

    def _reload(self, config: Config) -> Message:
        """Let another configuration count, or say that this takes another start."""
        if lasting(config) != lasting(self._config):
            return {"restart": True}
        self._config = config
        self._relay.reload(config.relay)
        if self._journaling is not None:
            self._journaling.settings = _reports(config)
        return {"restart": False}


def lasting(config: Config) -> tuple[object, ...]:
    """Return what of a configuration takes another start of the relay."""
    relay = config.relay
    files = (relay.listen, relay.key_file, relay.state, relay.kept)
    return (*files, relay.domain, config.audit, config.ldap, config.cache, config.groups)


def _reports(config: Config) -> ReportSettings:
    return ReportSettings(report_from=config.relay.report_from, domain=config.relay.domain)


def _first_line(channel: socket.socket, file: Path) -> Config:
    """Return the configuration that the parent sends first.

    Raises:
        ConfigError: it does not come.
    """
    channel.settimeout(_FIRST_LINE_SECONDS)
    octets = b""
    try:
        while not octets.endswith(b"\n"):
            piece = channel.recv(1 << 16)
            if not piece:
                raise EOFError  # noqa: TRY301 - as a silence
            octets += piece
    except (OSError, EOFError) as error:
        message = "no configuration comes from the process that started the relay"
        raise ConfigError(message) from error
    channel.setblocking(False)  # noqa: FBT003 - the standard library's signature
    return parse(str(decode(octets)["text"]), file)


def run_under_parent(file: Path, log: LogTarget, listening: int, channel: int) -> NoReturn:
    """Run the relay with descriptors that the parent has left open; ends the process.

    Raises:
        LdapmilterError: it cannot run.
    """
    told = socket.socket(fileno=channel)
    _leave(_run(_first_line(told, file), log, socket.socket(fileno=listening), told))


def run_alone(config: Config, log: LogTarget) -> NoReturn:
    """Run the relay without a parent, on a socket of its own; ends the process.

    Raises:
        LdapmilterError: it cannot run.
    """
    relay = config.relay
    if relay.listen is None:
        message = f"{config.file}: [relay] listen is empty: no copy travels by the relay"
        raise ConfigError(message)
    listener = listen_at(relay.listen, relay.socket_mode, relay.socket_group, "relay")
    status = _FAILED
    try:
        status = _run(config, log, listener.socket, None)
    finally:
        listener.close()
    _leave(status)


def _run(config: Config, log: LogTarget, listening: socket.socket, channel: socket.socket | None) -> int:
    writer = LogWriter(log)

    async def main() -> int:
        asyncio.get_running_loop().set_default_executor(_NotWaitedFor(_THREADS, thread_name_prefix="disk"))
        return await RelayProcess(config, listening, channel).run()

    try:
        return asyncio.run(main())
    except LdapmilterError as error:
        _log.error("the copy relay cannot run: %s", error)
        return _FAILED
    finally:
        writer.close()


def _leave(status: int) -> NoReturn:
    # Threads may still wait for the disk or the directory; nobody waits for them.
    os._exit(status)
