"""From the configuration to a directory that can be asked."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from ldapmilter.config import bind_password
from ldapmilter.directory.cache.entries import Cache
from ldapmilter.directory.cache.loads import Loads
from ldapmilter.directory.changes import names_of
from ldapmilter.directory.keys import same_answer
from ldapmilter.directory.ldap.endpoints import LdapSettings
from ldapmilter.directory.ldap.hosts import host_addresses
from ldapmilter.directory.ldap.resolver import Resolver
from ldapmilter.directory.reader import Reader
from ldapmilter.directory.searches import CHUNK
from ldapmilter.directory.zimbra import ZimbraDirectory
from ldapmilter.options import LDIF_PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ldapmilter.config import Config, LdapConfig
    from ldapmilter.directory.backend.store import Store
    from ldapmilter.directory.ldap.endpoints import Endpoints


class OpenDirectory(Struct, frozen=True, kw_only=True):
    """A directory together with what has to be let go of at the end."""

    directory: ZimbraDirectory
    cache: Cache
    store: Store
    executor: ThreadPoolExecutor | None
    loads: Loads | None
    described: str
    """Where it is, for the log."""
    embedded: bool
    """Whether it is a file in memory, which is read when it is opened."""

    def close(self) -> None:
        """End threads and connections; searches that are still waiting are given up."""
        if self.loads is not None:
            self.loads.stop()
        if self.executor is not None:
            self.executor.shutdown(wait=False, cancel_futures=True)
        self.store.close()


class Wired(Struct, frozen=True, kw_only=True):
    """A directory over some store, and the parts of it that are used on their own."""

    directory: ZimbraDirectory
    cache: Cache
    loads: Loads | None


def directory_over(
    store: Store,
    config: Config,
    clock: Callable[[], float],
    submit: Callable[[Callable[[], None]], None],
    *,
    host_addresses: Callable[[Sequence[str]], frozenset[str]],
    background: Callable[[Cache], Loads] | None = None,
    jitter: Callable[[], float] = random.random,
) -> Wired:
    """Return Zimbra's directory over a store, with its cache in front: the only place that puts them together.

    Args:
        store: the back end.
        config: limits, policy attributes, ``search_base`` and ``lookup_deadline``.
        clock: monotonic seconds.
        submit: runs a function on a thread that may wait for the store.
        host_addresses: turns server names into the client addresses they connect from.
        background: makes what reads large groups beside the mail; without it each message reads them itself.
        jitter: numbers in [0, 1), to spread expiry.
    """
    found_by = names_of if config.ldap.follows else None
    cache = Cache(config.cache, clock, submit, jitter, same=same_answer, part=CHUNK, names_of=found_by)
    loads = background(cache) if background is not None else None
    reader = Reader(
        store,
        cache,
        policy_attributes=config.policy.attributes(),
        search_base=config.ldap.search_base,
        host_addresses=host_addresses,
    )
    directory = ZimbraDirectory(
        reader, config.groups, lookup_deadline=config.ldap.lookup_deadline, clock=clock, loads=loads
    )
    return Wired(directory=directory, cache=cache, loads=loads)


def open_directory(config: Config) -> OpenDirectory:
    """Open the directory that ``[ldap] uri`` names; an LDAP server is not contacted yet.

    Raises:
        ConfigError: an LDIF file or the bind password cannot be read, or a setting cannot be used.
    """
    uri = config.ldap.uris[0] if config.ldap.uris else ""
    executor: ThreadPoolExecutor | None = None
    resolver = Resolver(time.monotonic)
    store: Store
    submit: Callable[[Callable[[], None]], None]
    if config.ldap.embedded:
        from ldapmilter.directory.backend.ldif import LdifStore  # noqa: PLC0415 - LDAP does without

        file = Path(uri[len(LDIF_PREFIX) :].strip())
        store = LdifStore.load(file if file.is_absolute() else config.file.parent / file)
        submit = _at_once
    else:
        from ldapmilter.directory.ldap.servers import LdapStore  # noqa: PLC0415 - takes longer than a decision from a file

        settings = ldap_settings(config)
        settings.read_password()  # what no bind could do with is said now, not when mail waits
        store = LdapStore(settings, time.monotonic, _endpoints(config.ldap, settings), resolver)
        executor = ThreadPoolExecutor(config.ldap.connections_per_worker, thread_name_prefix="directory")
        pool = executor

        def submit(work: Callable[[], None]) -> None:
            pool.submit(work)

    wired = directory_over(
        store,
        config,
        time.monotonic,
        submit,
        host_addresses=partial(host_addresses, resolver=resolver),
        background=partial(Loads, clock=time.monotonic) if executor is not None else None,
    )
    described = " ".join(config.ldap.uris) or f"the servers of {config.ldap.zimbra_localconfig}"
    return OpenDirectory(
        directory=wired.directory,
        cache=wired.cache,
        store=store,
        executor=executor,
        loads=wired.loads,
        described=described,
        embedded=executor is None,
    )


def current_endpoints(config: Config) -> Endpoints:
    """Return the LDAP servers as they are configured now, here or by Zimbra.

    Raises:
        ConfigError: Zimbra's own configuration names them and cannot be used.
    """
    return endpoints_of(config)()


def endpoints_of(config: Config) -> Callable[[], Endpoints]:
    """Return what tells the LDAP servers as they are configured at any moment.

    Raises:
        ConfigError: Zimbra's own configuration names them and cannot be used.
    """
    settings = ldap_settings(config)
    return _endpoints(config.ldap, settings) or (lambda: settings.endpoints)


def _endpoints(ldap: LdapConfig, settings: LdapSettings) -> Callable[[], Endpoints] | None:
    if ldap.zimbra_localconfig is None:
        return None
    from ldapmilter.directory.ldap.localconfig import LocalConfig  # noqa: PLC0415 - reads XML, which few need

    return LocalConfig(ldap.zimbra_localconfig, settings.endpoints).endpoints


def ldap_settings(config: Config) -> LdapSettings:
    """Return the connection settings of a configuration."""
    ldap = config.ldap
    return LdapSettings(
        uris=ldap.uris,
        bind_dn=ldap.bind_dn,
        read_password=partial(bind_password, config),
        starttls=ldap.starttls,
        ca_file=ldap.ca_file,
        connect_timeout=ldap.connect_timeout,
        policy_attributes=tuple(sorted(config.policy.secret_attributes())),
    )


def _at_once(work: Callable[[], None]) -> None:
    """Memory needs no thread to wait in."""
    work()
