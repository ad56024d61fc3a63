"""From the configuration to a directory that can be asked."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ldapmilter.config import read_secret
from ldapmilter.directory.cache import Cache
from ldapmilter.directory.endpoints import Endpoints, LocalConfig
from ldapmilter.directory.hosts import host_addresses
from ldapmilter.directory.ldap import LdapSettings, LdapStore
from ldapmilter.directory.ldif import LdifStore
from ldapmilter.directory.reader import Reader, same_answer
from ldapmilter.directory.resolver import Resolver
from ldapmilter.directory.zimbra import ZimbraDirectory

if TYPE_CHECKING:
    from collections.abc import Callable

    from ldapmilter.config import Config, LdapConfig
    from ldapmilter.directory.store import Store

LDIF_PREFIX = "ldif:"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenDirectory:
    """A directory together with what has to be let go of at the end."""

    directory: ZimbraDirectory
    cache: Cache
    store: Store
    executor: ThreadPoolExecutor | None
    described: str
    """Where it is, for the log."""
    embedded: bool
    """Whether it is a file in memory, which is read when it is opened."""

    def close(self) -> None:
        """End threads and connections; searches that are still waiting are given up."""
        if self.executor is not None:
            self.executor.shutdown(wait=False, cancel_futures=True)
        self.store.close()


def open_directory(config: Config) -> OpenDirectory:
    """Open the directory that ``[ldap] uri`` names; an LDAP server is not contacted yet.

    Raises:
        ConfigError: an LDIF file cannot be read, or a setting cannot be used.
    """
    uri = config.ldap.uris[0] if config.ldap.uris else ""
    executor: ThreadPoolExecutor | None = None
    resolver = Resolver(time.monotonic)
    store: Store
    submit: Callable[[Callable[[], None]], None]
    if is_embedded(config):
        file = Path(uri[len(LDIF_PREFIX) :].strip())
        store = LdifStore.load(file if file.is_absolute() else config.file.parent / file)
        submit = _at_once
    else:
        settings = ldap_settings(config)
        store = LdapStore(settings, time.monotonic, _endpoints(config.ldap, settings), resolver)
        executor = ThreadPoolExecutor(config.ldap.connections_per_worker, thread_name_prefix="directory")
        pool = executor

        def submit(work: Callable[[], None]) -> None:
            pool.submit(work)

    cache = Cache(config.cache, time.monotonic, submit, same=same_answer)
    reader = Reader(
        store,
        cache,
        policy_attributes=config.policy.attributes(),
        search_base=config.ldap.search_base,
        host_addresses=partial(host_addresses, resolver=resolver),
    )
    directory = ZimbraDirectory(
        reader, config.groups, lookup_deadline=config.ldap.lookup_deadline, clock=time.monotonic
    )
    described = " ".join(config.ldap.uris) or f"the servers of {config.ldap.zimbra_localconfig}"
    return OpenDirectory(
        directory=directory, cache=cache, store=store, executor=executor, described=described, embedded=executor is None
    )


def is_embedded(config: Config) -> bool:
    """Whether the directory is an LDIF file in memory."""
    return bool(config.ldap.uris) and config.ldap.uris[0].lower().startswith(LDIF_PREFIX)


def current_endpoints(config: Config) -> Endpoints:
    """Return the LDAP servers as they are configured now, here or by Zimbra.

    Raises:
        ConfigError: Zimbra's own configuration names them and cannot be used.
    """
    settings = ldap_settings(config)
    follow = _endpoints(config.ldap, settings)
    return follow() if follow is not None else settings.endpoints


def _endpoints(ldap: LdapConfig, settings: LdapSettings) -> Callable[[], Endpoints] | None:
    if ldap.zimbra_localconfig is None:
        return None
    return LocalConfig(ldap.zimbra_localconfig, settings.endpoints).endpoints


def ldap_settings(config: Config) -> LdapSettings:
    """Return the connection settings of a configuration."""
    ldap = config.ldap
    file = ldap.bind_password_file
    return LdapSettings(
        uris=ldap.uris,
        bind_dn=ldap.bind_dn,
        read_password=lambda: read_secret(file, "[ldap] bind_password_file") if file is not None else "",
        starttls=ldap.starttls,
        ca_file=ldap.ca_file,
        connect_timeout=ldap.connect_timeout,
        policy_attributes=tuple(sorted(config.policy.attributes())),
    )


def _at_once(work: Callable[[], None]) -> None:
    """Memory needs no thread to wait in."""
    work()
