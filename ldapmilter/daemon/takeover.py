"""A reload in the parent: all of a configuration is taken over, or it is refused and nothing changes."""

from __future__ import annotations

import contextlib
import logging
import time
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING

from ldapmilter.config import bind_password, load
from ldapmilter.config_text import digest, other_socket, read
from ldapmilter.daemon.active_configuration import ActiveConfiguration, same_directory
from ldapmilter.daemon.aside import Aside, StillBusy, aside
from ldapmilter.daemon.audit_trail import try_audit
from ldapmilter.daemon.channel import RequestRefused
from ldapmilter.daemon.overview import RefusedReload
from ldapmilter.daemon.relay_files import try_relay_files
from ldapmilter.daemon.relayed_copies import key_for
from ldapmilter.errors import ConfigError, LdapmilterError

if TYPE_CHECKING:
    from pathlib import Path

    from ldapmilter.config import Config
    from ldapmilter.daemon.fleet import Fleet
    from ldapmilter.daemon.overview import Overview
    from ldapmilter.daemon.relay_keeper import RelayKeeper
    from ldapmilter.daemon.reminders import Reminders
    from ldapmilter.daemon.sockets import Sockets

_log = logging.getLogger(__name__)

_READ_SECONDS = 30.0
"""In which a configuration, and what it names, has to be read."""


class Takeover:
    """Takes the configuration file over when told to."""

    def __init__(
        self, fleet: Fleet, sockets: Sockets, overview: Overview, reminders: Reminders, relay: RelayKeeper
    ) -> None:
        """Prepare to change what a configuration decides in the parent; a refusal is noted as said.

        Raises:
            ConfigError: the password of the configuration in force cannot be read.
        """
        self._password = _password(overview.config)
        """What tells apart the password that was read when the configuration in force was taken over."""
        self._fleet = fleet
        self._relay = relay
        self._sockets = sockets
        self._overview = overview
        self._reminders = reminders
        self._aside = Aside()

    async def reload(self) -> None:
        """Take the file over, or note and log why not; raises nothing."""
        try:
            await self._reload()
        except (LdapmilterError, OSError) as error:
            await self._refuse(str(error))
            _log.error("%s", _refused(str(error)))
        except Exception as error:  # noqa: BLE001 - the next SIGHUP must be heard
            await self._refuse(f"unexpected {type(error).__name__}: {error}")
            _log.exception("the configuration was not reloaded: unexpected error")

    async def try_out(self) -> None:
        """Do all that a reload does before anything changes.

        Raises:
            LdapmilterError: a reload would be refused.
        """
        active, _ = await self._acceptable(self._overview.config)
        active.opened.close()

    async def reminder(self) -> dict[str, int]:
        """Return that the last reload was refused, if it was, with the level at which to log it."""
        if (refused := self._overview.refused) is None:
            return {}
        if refused.digest == await self._digest():
            return {_refused(refused.error): logging.ERROR}
        file = self._overview.config.file
        return {f"{file} was changed after its reload was refused: reload again": logging.WARNING}

    async def _refuse(self, error: str) -> None:
        self._reminders.said(_refused(error), time.monotonic())
        self._overview.refused = RefusedReload(error=error, at=time.time(), digest=await self._digest())

    async def _digest(self) -> str | None:
        """Return the digest of the text that the file has now; ``None``: it cannot be read."""
        with contextlib.suppress(ConfigError, StillBusy):
            file = self._overview.config.file
            return digest(await self._aside.do(f"reading {file}", partial(read, file), _READ_SECONDS))
        return None

    async def _reload(self) -> None:
        """Take the file over.

        Raises:
            LdapmilterError: it cannot be used; nothing has changed.
        """
        before = self._overview.config
        active, password = await self._acceptable(before)
        config = active.config
        listener = self._relay.bind(config)
        try:
            await self._sockets.follow(config, before)
        except BaseException:
            self._relay.let_go(listener)
            raise
        replaced = await self._fleet.reload(active)
        await self._relay.follow(config, listener)
        self._password = password
        self._overview.reloaded(config)
        _log.info(
            "configuration reloaded in %d workers%s",
            len(self._fleet.workers),
            f"; {len(replaced)} were replaced" if replaced else "",
        )

    async def _acceptable(self, before: Config) -> tuple[ActiveConfiguration, str]:
        """Return the configuration in the file, with its directory, and what tells its password apart.

        Raises:
            LdapmilterError: it cannot be taken over from the one that is in force.
        """
        active, password = await self._aside.do(f"reading {before.file}", partial(_opened, before.file), _READ_SECONDS)
        config = active.config
        if config.milter.socket != before.milter.socket:
            raise ConfigError(other_socket(config.file, str(config.milter.socket), str(before.milter.socket)))
        await aside(lambda: try_audit(config))
        await aside(lambda: key_for(config))
        await aside(lambda: try_relay_files(config.relay, before.relay))
        if active.switched_off:
            return active, self._password  # a later one has to try it
        if password != self._password:
            await self._check_password(config)
        elif would_forget(active, before):
            await self._check_directory(config)
        return active, password

    async def _check_password(self, config: Config) -> None:
        """Have another password said to be wrong now, not when the next connection is made with it.

        Raises:
            RequestRefused: the directory cannot be read with it.
        """
        try:
            await self._fleet.try_out(config)
        except RequestRefused as error:
            message = (
                f"[ldap] bind_password_file = {config.ldap.bind_password_file} holds another password than before, "
                f"and the directory cannot be read with it ({error}); every new connection uses that file: "
                "put the right password into it, then reload again"
            )
            raise RequestRefused(message) from error

    async def _check_directory(self, config: Config) -> None:
        """Have the caches emptied only for a directory that answers now.

        During an outage mail goes on from the caches, which are right as long as their configuration is in force.

        Raises:
            RequestRefused: it does not answer, or hides what policy needs.
        """
        try:
            await self._fleet.try_out(config)
        except RequestRefused as error:
            message = (
                f"the directory cannot be read with it, and the cache would be emptied ({error}); "
                "reload again when it can be read, or restart to take it over now"
            )
            raise RequestRefused(message) from error


def _refused(error: str) -> str:
    return f"the configuration was not reloaded, the previous one stays in force: {error}"


def would_forget(active: ActiveConfiguration, before: Config) -> bool:
    """Tell whether a reload begins with empty caches, and the next message needs the directory."""
    if active.switched_off or active.opened.embedded:
        return False
    return not same_directory(active.config, before)


def _opened(file: Path) -> tuple[ActiveConfiguration, str]:
    """Return the configuration in a file, with its directory, and what tells its password apart.

    Raises:
        ConfigError: it cannot be used.
    """
    config = load(file)
    return ActiveConfiguration.of(config), _password(config)


def _password(config: Config) -> str:
    """Return what tells one password from another, and is none.

    Raises:
        ConfigError: it cannot be read.
    """
    return sha256(bind_password(config).encode()).hexdigest()
