"""Zimbra's localconfig.xml: URLs and TLS, followed while it is replaced, gone or broken; never a password."""

from __future__ import annotations

import re
import subprocess
import time
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

import pytest

from ldapmilter.config import load
from ldapmilter.directory.backend.filters import Equal
from ldapmilter.directory.backend.store import Deadline
from ldapmilter.directory.ldap import localconfig as module
from ldapmilter.directory.ldap.endpoints import Endpoints, LdapSettings
from ldapmilter.directory.ldap.localconfig import LocalConfig, read
from ldapmilter.directory.ldap.servers import LdapStore
from ldapmilter.errors import ConfigError, DirectoryUnavailable
from ldapmilter.opening import open_directory
from tests.contract.shapes import shapes
from tests.support.identities import MILTER_DN, MILTER_PASSWORD
from tests.support.ports import HANG, free_port, wait_until
from tests.support.slapd import Slapd

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOTHING: Final = Endpoints(uris=())
FALLBACK: Final = Endpoints(uris=("ldap://fallback.example.test:389",))
SECRETS: Final = {
    "zimbra_ldap_password": "s3cret-of-zimbra",
    "ldap_root_password": "s3cret-of-root",
    "ldap_postfix_password": "s3cret-of-postfix",
}


def xml(**keys: str | None) -> str:
    """Return a localconfig.xml with passwords in it, as there always are."""
    given = {**SECRETS, **keys}
    lines = [
        f'  <key name="{name}">' + (f"<value>{escape(value)}</value>" if value is not None else "") + "</key>"
        for name, value in given.items()
    ]
    return "\n".join(['<?xml version="1.0" encoding="UTF-8"?>', "<localconfig>", *lines, "</localconfig>", ""])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "conf" / "localconfig.xml"


def write(file: Path, text: str | None = None, **keys: str | None) -> None:
    """Write the file as zmlocalconfig does: another file takes its name."""
    file.parent.mkdir(exist_ok=True)
    other = file.with_suffix(".new")
    other.write_text(xml(**keys) if text is None else text, encoding="utf-8")
    other.rename(file)


def uris_of(file: Path, **keys: str | None) -> tuple[str, ...]:
    write(file, **keys)
    return read(file, NOTHING).uris


# -- which servers --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "uris"),
    [
        ({"ldap_url": "ldap://a.test:389"}, ["ldap://a.test:389"]),
        ({"ldap_url": "ldap://b.test:389 ldap://a.test:389"}, ["ldap://b.test:389", "ldap://a.test:389"]),
        ({"ldap_url": "\n  ldaps://b.test:636\t ldaps://a.test:636 \n"}, ["ldaps://b.test:636", "ldaps://a.test:636"]),
        ({"ldap_url": "ldapi://%2Fopt%2Fldapi ldap://a.test"}, ["ldapi://%2Fopt%2Fldapi", "ldap://a.test"]),
        ({"ldap_url": "ldap://a.test", "ldap_host": "b.test"}, ["ldap://a.test"]),
        ({"ldap_url": "", "ldap_host": "b.test", "ldap_port": "390"}, ["ldap://b.test:390"]),
        ({"ldap_host": "b.test", "ldap_port": "390"}, ["ldap://b.test:390"]),
        ({"ldap_host": "b.test"}, ["ldap://b.test:389"]),
        ({"ldap_host": "b.test", "ldap_port": ""}, ["ldap://b.test:389"]),
        ({"ldap_url": None, "ldap_host": "b.test"}, ["ldap://b.test:389"]),
        ({"ldap_url": "ldap://${ldap_host}:${ldap_port}", "ldap_host": "c.test", "ldap_port": "1389"}, [
            "ldap://c.test:1389"
        ]),
        ({"ldap_url": "${x}", "x": "${y} ldap://${z}", "y": "ldap://y.test", "z": "z.test"}, [
            "ldap://y.test",
            "ldap://z.test",
        ]),
        ({"ldap_url": "ldap://a.test${unknown}:389"}, ["ldap://a.test:389"]),
        ({"ldap_url": "ldap://a.test", "x": "${y}", "y": "${x}", "z": "${z}"}, ["ldap://a.test"]),
        ({"ldap_master_url": "ldap://master.test", "ldap_url": "ldap://a.test"}, ["ldap://a.test"]),
    ],
)  # fmt: skip
def test_urls(file: Path, keys: dict[str, str | None], uris: list[str]) -> None:
    assert uris_of(file, **keys) == tuple(uris)


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"ldap_url": ""},
        {"ldap_url": "a.test:389"},
        {"ldap_url": "http://a.test"},
        {"ldap_url": "ldap://a.test https://b.test"},
        {"ldap_url": "ldap://"},
        {"ldap_url": "ldap://${ldap_host}:389"},
        {"ldap_url": "${ldap_url}"},
        {"ldap_url": "${x}", "x": "${y}", "y": "${x}"},
        {"ldap_url": "${unknown}"},
        {"ldap_master_url": "ldap://master.test"},
    ],
)
def test_what_names_no_server_is_refused(file: Path, keys: dict[str, str | None]) -> None:
    with pytest.raises(ConfigError) as caught:
        uris_of(file, **keys)
    assert str(file) in str(caught.value)


def test_a_chain_of_references(file: Path) -> None:
    chain: dict[str, str | None] = {f"k{number}": f"${{k{number + 1}}}" for number in range(10)}
    assert uris_of(file, ldap_url="${k0}", **chain, k10="ldap://end.test") == ("ldap://end.test",)


def test_references_that_contain_each_other_end(file: Path) -> None:
    started = time.monotonic()
    assert uris_of(file, ldap_url="ldap://a.test", x="a${y}b${y}", y="${x}") == ("ldap://a.test",)
    assert time.monotonic() - started < HANG


def test_without_a_url_the_configured_servers_stay(file: Path) -> None:
    write(file, ldap_starttls_supported="1")
    assert read(file, FALLBACK).uris == FALLBACK.uris


# -- how they are spoken to -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("supported", "required", "security", "starttls"),
    [
        ("1", "true", "1", True),
        ("1", None, None, True),
        ("1", "TRUE", "1", True),
        ("0", "true", "1", False),
        (None, "true", "1", False),
        ("1", "false", "1", False),
        ("1", "true", "0", False),
        (None, None, None, False),
    ],
)
def test_starttls_takes_three_keys(
    file: Path,
    supported: str | None,
    required: str | None,
    security: str | None,
    starttls: bool,  # noqa: FBT001 - a table
) -> None:
    keys = {
        "ldap_starttls_supported": supported,
        "ldap_starttls_required": required,
        "zimbra_require_interprocess_security": security,
    }
    write(file, ldap_url="ldap://a.test", **{name: value for name, value in keys.items() if value is not None})
    assert read(file, NOTHING).starttls is starttls


def test_the_directory_ca_beside_the_file(file: Path) -> None:
    write(file, ldap_url="ldap://a.test")
    assert read(file, NOTHING).ca_directory is None
    (file.parent / "ca").mkdir()
    assert read(file, NOTHING).ca_directory == file.parent / "ca"


def test_a_configured_ca_file_counts_alone(file: Path, tmp_path: Path) -> None:
    write(file, ldap_url="ldap://a.test")
    (file.parent / "ca").mkdir()
    found = read(file, Endpoints(uris=(), ca_file=tmp_path / "ca.pem"))
    assert (found.ca_file, found.ca_directory) == (tmp_path / "ca.pem", None)


# -- followed -------------------------------------------------------------------------------


def test_a_file_that_is_replaced_is_read_again(file: Path) -> None:
    write(file, ldap_url="ldap://a.test")
    followed = LocalConfig(file, NOTHING)
    assert followed.endpoints().uris == ("ldap://a.test",)
    for name in ("b", "c", "d"):
        write(file, ldap_url=f"ldap://{name}.test")
        assert followed.endpoints().uris == (f"ldap://{name}.test",)


def test_a_file_that_is_written_in_place_is_read_again(file: Path) -> None:
    write(file, ldap_url="ldap://a.test")
    followed = LocalConfig(file, NOTHING)
    file.write_text(xml(ldap_url="ldap://longer.test"), encoding="utf-8")
    assert followed.endpoints().uris == ("ldap://longer.test",)


def test_a_file_that_stays_is_not_read_again(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(file, ldap_url="ldap://a.test")
    followed = LocalConfig(file, NOTHING)
    reads: list[Path] = []

    def counted(path: Path, fallback: Endpoints) -> Endpoints:
        reads.append(path)
        return read(path, fallback)

    monkeypatch.setattr(module, "read", counted)
    for _ in range(10):
        followed.endpoints()
    assert reads == []
    write(file, ldap_url="ldap://b.test")
    for _ in range(10):
        followed.endpoints()
    assert reads == [file]


def test_a_file_that_is_gone_for_a_moment_changes_nothing(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(file, ldap_url="ldap://a.test")
    followed = LocalConfig(file, NOTHING)
    file.unlink()
    for _ in range(3):
        assert followed.endpoints().uris == ("ldap://a.test",)
    assert not caplog.records
    write(file, ldap_url="ldap://b.test")
    assert followed.endpoints().uris == ("ldap://b.test",)


BROKEN: Final = {
    "empty": "",
    "half": xml(ldap_url="ldap://b.test")[:-60],
    "not XML": "ldap_url=ldap://b.test\n",
    "binary": "\x01\x02",
    "no keys": "<localconfig/>",
    "no URL": xml(),
    "a wrong URL": xml(ldap_url="http://b.test"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_keeps_the_servers_and_is_said_once(
    file: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    write(file, ldap_url="ldap://a.test", ldap_starttls_supported="1")
    followed = LocalConfig(file, NOTHING)
    before = followed.endpoints()
    write(file, BROKEN[kind])

    for _ in range(5):
        assert followed.endpoints() == before

    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert str(file) in record.getMessage()
    assert "ldap://a.test" in record.getMessage()
    write(file, ldap_url="ldap://c.test")
    assert followed.endpoints().uris == ("ldap://c.test",)


def test_a_directory_in_its_place(file: Path) -> None:
    write(file, ldap_url="ldap://a.test")
    followed = LocalConfig(file, NOTHING)
    file.unlink()
    file.mkdir()
    assert followed.endpoints().uris == ("ldap://a.test",)


def test_at_the_start_without_servers_it_has_to_be_there(file: Path) -> None:
    with pytest.raises(ConfigError, match="localconfig"):
        LocalConfig(file, NOTHING)
    write(file, BROKEN["half"])
    with pytest.raises(ConfigError, match="localconfig"):
        LocalConfig(file, NOTHING)


def test_at_the_start_the_configured_servers_stand_in(file: Path) -> None:
    followed = LocalConfig(file, FALLBACK)
    assert followed.endpoints() == FALLBACK
    write(file, ldap_url="ldap://a.test")
    assert followed.endpoints().uris == ("ldap://a.test",)


# -- no password ----------------------------------------------------------------------------


def test_no_password_is_ever_taken_told_or_logged(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    write(file, ldap_url="ldap://a.test", ldap_starttls_supported="1")
    followed = LocalConfig(file, NOTHING)
    told = [repr(followed.endpoints()), repr(vars(followed))]
    for text in BROKEN.values():
        write(file, text)
        told.append(repr(followed.endpoints()))
        try:
            read(file, NOTHING)
        except ConfigError as error:
            told.append(str(error))
    told += [record.getMessage() for record in caplog.records]
    assert len(told) > 10
    for secret in SECRETS.values():
        assert not any(secret in text for text in told)


def test_the_milter_binds_as_itself_not_as_zimbra(file: Path, tmp_path: Path, server: Slapd) -> None:
    write(file, ldap_url=server.uri, zimbra_ldap_userdn="uid=zimbra,cn=admins,cn=zimbra")
    secret = tmp_path / "secret"
    secret.write_text(f"{MILTER_PASSWORD}\n", encoding="utf-8")
    secret.chmod(0o600)
    config = tmp_path / "config.ini"
    config.write_text(
        f"[ldap]\nzimbra_localconfig = {file}\nbind_dn = {MILTER_DN}\nbind_password_file = {secret}\n",
        encoding="utf-8",
    )
    opened = open_directory(load(config))
    before = server.searches(MILTER_DN), server.searches()
    try:
        assert opened.directory.for_message().hosts("example.test")
    finally:
        opened.close()
    assert server.searches(MILTER_DN) - before[0] == server.searches() - before[1] == 1


# -- the store follows ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[Slapd]:
    with Slapd(shapes()) as running:
        yield running


@pytest.fixture(scope="module")
def other() -> Iterator[Slapd]:
    with Slapd(shapes(), tls=True) as running:
        yield running


@pytest.fixture
def store(file: Path, server: Slapd) -> Iterator[LdapStore]:
    write(file, ldap_url=server.uri)
    settings = LdapSettings(
        uris=(), bind_dn=MILTER_DN, read_password=lambda: MILTER_PASSWORD, connect_timeout=1, policy_attributes=()
    )
    made = LdapStore(settings, time.monotonic, LocalConfig(file, NOTHING).endpoints)
    yield made
    made.close()


def ask(store: LdapStore) -> int:
    found = store.search(
        "", "sub", Equal("zimbraMailDeliveryAddress", "ann@example.test"), ("uid",), Deadline.after(20, time.monotonic)
    )
    return len(found)


def connections(server: Slapd) -> set[str]:
    """Return the numbers of the connections that are open."""
    log = server.log()
    opened, closed = (set(re.findall(rf"conn=(\d+) fd=\d+ {what}", log)) for what in ("ACCEPT", "closed"))
    return opened - closed


def test_the_next_search_goes_to_the_new_server(file: Path, store: LdapStore, server: Slapd, other: Slapd) -> None:
    assert ask(store) == 1
    wait_until(lambda: connections(server) != set(), "slapd's line of the connection")
    held = connections(server)
    before = server.searches(), other.searches()
    write(file, ldap_url=other.uri)

    assert [ask(store) for _ in range(3)] == [1, 1, 1]

    assert (server.searches() - before[0], other.searches() - before[1]) == (0, 3)
    wait_until(lambda: held.isdisjoint(connections(server)), "the old connection to be let go of")


def test_a_server_that_nobody_names_any_more_is_not_fallen_back_to(file: Path, store: LdapStore) -> None:
    assert ask(store) == 1
    nobody = f"ldap://127.0.0.1:{free_port()}"
    write(file, ldap_url=nobody)

    with pytest.raises(DirectoryUnavailable, match=nobody):
        ask(store)
    assert [problem.partition(": ")[0] for problem in store.problems()] == [nobody]


def test_a_broken_or_absent_file_leaves_the_store_alone(file: Path, store: LdapStore, server: Slapd) -> None:
    assert ask(store) == 1
    write(file, BROKEN["half"])
    assert ask(store) == 1
    file.unlink()
    assert ask(store) == 1
    write(file, ldap_url=server.uri)
    assert ask(store) == 1


def test_a_list_with_a_dead_server_first(file: Path, store: LdapStore, server: Slapd) -> None:
    write(file, ldap_url=f"ldap://127.0.0.1:{free_port()} {server.uri}")
    assert ask(store) == 1


def test_tls_settings_are_followed_too(file: Path, store: LdapStore, other: Slapd) -> None:
    assert ask(store) == 1
    assert other.ca_file is not None
    authority = other.ca_file.read_bytes()
    starttls = {"ldap_url": other.uri, "ldap_starttls_supported": "1"}
    # Nobody here knows who signed the certificate ...
    write(file, **starttls)
    with pytest.raises(DirectoryUnavailable, match=r"(?i)certificate"):
        ask(store)
    # ... until it lies in Zimbra's directory, under the name that OpenSSL looks for.
    ca = file.parent / "ca"
    ca.mkdir()
    name = subprocess.run(
        ["openssl", "x509", "-noout", "-subject_hash", "-in", str(other.ca_file)],
        check=True,
        capture_output=True,
        timeout=HANG,
        text=True,
    ).stdout.strip()
    (ca / f"{name}.0").write_bytes(authority)
    write(file, **starttls)
    started = other.log().count(" STARTTLS")
    assert ask(store) == 1
    assert other.log().count(" STARTTLS") == started + 1
    write(file, ldap_url=other.ldaps_uri)
    assert ask(store) == 1


def test_an_authority_that_cannot_be_used_leaves_the_store_alone(
    file: Path, server: Slapd, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    current = [Endpoints(uris=(server.uri,), starttls=False)]
    settings = LdapSettings(uris=(), bind_dn=MILTER_DN, read_password=lambda: MILTER_PASSWORD)
    store = LdapStore(settings, time.monotonic, lambda: current[0])
    try:
        assert ask(store) == 1
        broken = tmp_path / "broken.pem"
        broken.write_text("no certificate\n", encoding="utf-8")
        current[0] = Endpoints(uris=(server.uri,), starttls=False, ca_file=broken)
        for _ in range(3):
            assert ask(store) == 1
        assert len([record for record in caplog.records if str(broken) in record.getMessage()]) == 1
    finally:
        store.close()
    assert not file.exists()
