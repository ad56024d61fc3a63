"""One slapd for the whole suite, and the five back ends over the same records."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.contract.backends import BackEnd, Searcher
from tests.contract.crowd import crowd
from tests.contract.shapes import shapes
from tests.support.record import merge, to_ldif
from tests.support.slapd import Slapd

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ldapmilter.directory.zimbra import MessageDirectory
    from ldapmilter.opening import OpenDirectory

RECORDS = merge([*shapes(), *crowd()])
IN_MEMORY = ("records", "slapcat")
OVER_OTHER_TRANSPORTS = ("ldaps", "ldapi")


@pytest.fixture(scope="session")
def contract_slapd() -> Iterator[Slapd]:
    """Return a running directory server with the contract's data; nobody changes it."""
    with Slapd(RECORDS, tls=True) as server:
        yield server


def _make(name: str, request: pytest.FixtureRequest, factory: pytest.TempPathFactory) -> BackEnd:
    folder = factory.mktemp(name)
    if name == "records":
        (folder / "directory.ldif").write_text(to_ldif(RECORDS), encoding="utf-8")
        return BackEnd(name, "uri = ldif:directory.ldif\n", folder, time.monotonic)
    server: Slapd = request.getfixturevalue("contract_slapd")
    if name == "slapcat":
        (folder / "directory.ldif").write_text(server.slapcat(), encoding="utf-8")
        return BackEnd(name, f"uri = ldif:{folder / 'directory.ldif'}\n", folder, time.monotonic)
    uri = {"starttls": server.uri, "ldaps": server.ldaps_uri, "ldapi": server.ldapi_uri}[name]
    secret = folder / "secret"
    secret.write_text(f"{server.password}\n", encoding="utf-8")
    secret.chmod(0o600)
    lines = f"uri = {uri}\nbind_dn = {server.bind_dn}\nbind_password_file = {secret}\nca_file = {server.ca_file}\n"
    return BackEnd(name, lines, folder, time.monotonic, server)


@pytest.fixture(scope="session", params=[*IN_MEMORY, "starttls"])
def backend(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> BackEnd:
    """Return a back end that keeps the whole contract."""
    return _make(request.param, request, tmp_path_factory)


@pytest.fixture(scope="session", params=OVER_OTHER_TRANSPORTS)
def transport(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> BackEnd:
    """Return a back end that differs from the last of those by its connection only."""
    return _make(request.param, request, tmp_path_factory)


@pytest.fixture(scope="session")
def opened(backend: BackEnd) -> Iterator[OpenDirectory]:
    """Return an open directory whose cache is warm from other tests."""
    with backend.opened() as directory:
        yield directory


@pytest.fixture
def view(opened: OpenDirectory) -> MessageDirectory:
    """Return one message's view of the directory."""
    return opened.directory.for_message()


@pytest.fixture(scope="session")
def store(backend: BackEnd, opened: OpenDirectory) -> Searcher:
    """Return the store alone."""
    return Searcher(opened.store, backend.clock)
