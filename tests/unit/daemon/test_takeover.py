"""Which reloads have the directory tried first, and what they are refused for."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from ldapmilter.config import load
from ldapmilter.daemon.channel import RequestRefused
from ldapmilter.daemon.reminders import Reminders
from ldapmilter.daemon.takeover import Takeover

if TYPE_CHECKING:
    from pathlib import Path

    from ldapmilter.config import Config

WRONG = "the server refuses the bind DN"
PASS = "[policy]\nmode = pass\n[copy archive]\nmode = pass\n[copy legal]\nmode = pass\n[from]\nmode = pass\n"


class Workers:
    """Workers that try a password, and take everything over."""

    def __init__(self) -> None:
        self.right = "first"
        self.tried: list[str] = []
        self.workers: list[object] = []

    async def try_out(self, config: Config) -> None:
        assert config.ldap.bind_password_file is not None
        password = config.ldap.bind_password_file.read_text(encoding="utf-8").strip()
        self.tried.append(password)
        if password != self.right:
            raise RequestRefused(WRONG)

    async def reload(self, active: object) -> list[object]:
        assert active is not None
        return []


class Host:
    """A configuration file with its password, and what reloads it."""

    def __init__(self, folder: Path) -> None:
        self.secret, self.file = folder / "ldap.secret", folder / "config.ini"
        self.password("first")
        self.configure()
        self.fleet = Workers()
        self.overview = SimpleNamespace(config=load(self.file), refused=None)
        self.overview.reloaded = lambda config: vars(self.overview).update(config=config, refused=None)
        parts: tuple[Any, Any, Any] = (self.fleet, SimpleNamespace(follow=self._follow), self.overview)
        relay: Any = SimpleNamespace(bind=lambda _config: None, let_go=lambda _listener: None, follow=self._keep_relay)
        self._takeover = Takeover(*parts, Reminders(), relay)

    async def _follow(self, config: Config, before: Config) -> None:
        assert config.milter.socket == before.milter.socket

    async def _keep_relay(self, config: Config, listener: None) -> None:
        assert (config.relay.listen, listener) == (None, None)

    def password(self, text: str) -> None:
        self.secret.write_text(f"{text}\n", encoding="utf-8")
        self.secret.chmod(0o600)

    def configure(self, more: str = "") -> None:
        ldap = f"[ldap]\nuri = ldap://127.0.0.1:9\nbind_dn = cn=milter\nbind_password_file = {self.secret}\n"
        self.file.write_text(f"{ldap}[audit]\nfile =\n[control]\nsocket =\n{more}", encoding="utf-8")

    def reload(self) -> str | None:
        """Have the file taken over; return why not."""
        asyncio.run(self._takeover.reload())
        refused = self.overview.refused
        if refused is None:
            return None
        assert refused.at <= time.time()
        return str(refused.error)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_a_password_that_is_the_same_is_not_tried(host: Host) -> None:
    host.configure("[policy]\nmax_copies = 5\n")
    assert host.reload() is None
    assert host.fleet.tried == []


def test_another_password_is_tried_and_a_wrong_one_refused_until_it_is_right(host: Host) -> None:
    host.password("wrong")
    for _ in range(2):
        told = host.reload()
        assert told is not None
        for words in (f"bind_password_file = {host.secret} holds another password", WRONG, "then reload again"):
            assert words in told
        assert "wrong" not in told
    host.fleet.right = "second"
    host.password("second")
    assert host.reload() is None
    assert host.reload() is None
    assert host.fleet.tried == ["wrong", "wrong", "second"]


def test_without_policy_it_is_not_tried_and_with_policy_again_it_is(host: Host) -> None:
    host.configure(PASS)
    host.password("wrong")
    assert host.reload() is None
    assert host.fleet.tried == []
    host.configure()
    assert host.reload() is not None
    assert host.fleet.tried == ["wrong"]


def test_a_directory_that_would_be_forgotten_is_read_first(host: Host) -> None:
    host.configure("[cache]\nttl = 5\n")
    host.fleet.right = "not there"
    told = host.reload()
    assert told is not None
    assert "the cache would be emptied" in told
