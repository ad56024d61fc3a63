"""A real slapd of one's own: its directory, its ports, its failures.

It runs from a temporary directory as the current user and is gone when the context ends.
Besides starting and stopping it can be killed and frozen, since what the milter does when
the directory is down, and when it hangs, are two different things to test.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import tempfile
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from tests.support.certificates import make_certificates
from tests.support.identities import MILTER_DN, MILTER_PASSWORD
from tests.support.ports import HANG, LOOPBACK, free_port, listens
from tests.support.processes import end, freeze, wait_until_serving
from tests.support.record import Record, merge, to_ldif
from tests.support.slapd_config import ROOT_DN, ROOT_PASSWORD, config_ldif
from tests.support.slapd_log import Search, parse_searches

if TYPE_CHECKING:
    from collections.abc import Iterable

    from typing_extensions import Self

_SLAPD = "/usr/sbin/slapd"
_SLAPADD = "/usr/sbin/slapadd"
_SLAPCAT = "/usr/sbin/slapcat"
_OCTETS_A_SECOND = 40_000  # that slapadd reads at least, on a machine that others use
_ALREADY_EXISTS = 68


class Slapd:
    """A slapd with Zimbra's schema, access rules and overlays.

    Attributes:
        ca_file: the authority that signed the server's certificate; None without `tls`.
        bind_dn: the milter's identity.
        password: its password.
        directory: the temporary directory that holds everything.
    """

    def __init__(
        self,
        data: Iterable[Record],
        *,
        with_schema: bool = True,
        milter_acl: bool = True,
        tls: bool = False,
    ) -> None:
        """Prepare configuration and data; nothing runs yet.

        Args:
            data: the entries to start with.
            with_schema: load schema/ldapmilter.ldif and hide what it defines.
            milter_acl: let the milter's identity read what it needs.
            tls: offer StartTLS, and ldaps on a second port.
        """
        self.directory = Path(tempfile.mkdtemp(prefix="slapd-"))
        self.directory.chmod(0o755)
        self._owner = os.getpid()
        atexit.register(self.close)
        self.bind_dn, self.password = MILTER_DN, MILTER_PASSWORD
        self.ca_file = make_certificates(self.directory) if tls else None
        self._port, self._tls_port = free_port(), free_port() if tls else 0
        self._process: subprocess.Popen[bytes] | None = None
        self._log = self.directory / "slapd.log"
        self._config = self.directory / "config"
        self._config.mkdir()
        (self.directory / "data").mkdir()
        text = config_ldif(self.directory, with_schema=with_schema, milter_acl=milter_acl, tls=tls)
        self._slapadd("-n0", text)
        self._slapadd("-n2", to_ldif(data))

    @property
    def uri(self) -> str:
        """The plain TCP address; with `tls` it offers StartTLS."""
        return f"ldap://{LOOPBACK}:{self._port}"

    @property
    def ldaps_uri(self) -> str:
        """The address that speaks TLS from the first byte, empty without `tls`."""
        return f"ldaps://{LOOPBACK}:{self._tls_port}" if self._tls_port else ""

    @property
    def ldapi_uri(self) -> str:
        """The unix socket's address."""
        return f"ldapi://{quote(str(self.directory / 'ldapi'), safe='')}"

    def __enter__(self) -> Self:
        """Start the server."""
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Stop the server and remove all that it wrote."""
        self.close()

    def start(self) -> None:
        """Start the server, on the same ports each time; return when it answers.

        Raises:
            RuntimeError: slapd ended at once; the message holds its log.
            TimeoutError: it does not listen.
        """
        if self._process is not None:
            return
        addresses = " ".join(uri for uri in (self.uri, self.ldapi_uri, self.ldaps_uri) if uri)
        command = [_SLAPD, "-F", str(self._config), "-h", addresses, "-d", "stats"]
        with self._log.open("ab") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._process = process
        wait_until_serving(process, "slapd", lambda: listens(self._port), self.kill, self.log)

    def stop(self) -> None:
        """End the server as an administrator would; the data stays."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGCONT)
        end(process)

    def kill(self) -> None:
        """End the server as a crash would: connections break, nothing is said."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait(HANG)

    def suspend(self) -> None:
        """Freeze the server: connections open (the kernel sees to that) and never answer."""
        if self._process is not None:
            freeze(self._process.pid)

    def resume(self) -> None:
        """Let a frozen server go on."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """Stop and remove everything; a no-op in a forked child, whose exit runs it too."""
        if os.getpid() != self._owner:
            return
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)
        atexit.unregister(self.close)

    def add(self, entries: Iterable[Record] | str) -> None:
        """Add entries, records or LDIF, as the root identity.

        Records that only hold others are added where they are missing.
        """
        if isinstance(entries, str):
            self._ldap_tool("ldapadd", entries)
            return
        for filler, run in groupby(merge(entries), lambda record: record.filler):
            ldif = "".join(record.ldif() for record in run)
            if filler:
                self._ldap_tool("ldapadd", ldif, "-c", accept=(0, _ALREADY_EXISTS))
            else:
                self._ldap_tool("ldapadd", ldif)

    def modify(self, ldif: str) -> None:
        """Apply LDIF change records as the root identity; cn=config may be changed too."""
        self._ldap_tool("ldapmodify", ldif)

    def delete(self, dn: str) -> None:
        """Delete one entry as the root identity."""
        self._ldap_tool("ldapmodify", f"dn: {dn}\nchangetype: delete\n")

    def slapcat(self) -> str:
        """Return the stored entries as LDIF, operational attributes included."""
        command = [_SLAPCAT, "-F", str(self._config), "-n2", "-o", "ldif-wrap=no"]
        done = subprocess.run(command, check=True, capture_output=True, timeout=HANG)
        return done.stdout.decode()

    def search(self, bind_dn: str, password: str, *arguments: str, uri: str | None = None) -> tuple[int, str]:
        """Run ldapsearch as somebody (anonymously if `bind_dn` is empty).

        Args:
            bind_dn: who asks.
            password: the password.
            arguments: further arguments: `-b`, `-s`, the filter, attributes.
            uri: another address than the plain TCP one.

        Returns:
            The LDAP result code and the LDIF, unwrapped.
        """
        identity = ["-D", bind_dn, "-w", password] if bind_dn else []
        command = ["ldapsearch", "-x", "-LLL", "-o", "ldif-wrap=no", "-H", uri or self.uri]
        done = subprocess.run([*command, *identity, *arguments], check=False, capture_output=True, timeout=HANG)
        return done.returncode, done.stdout.decode()

    def log(self) -> str:
        """Return all that slapd logged, over restarts."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def search_log(self, bind_dn: str | None = None) -> list[Search]:
        """Return the searches that slapd was asked, but for those of the root identity.

        Args:
            bind_dn: only those of this identity; "" for anonymous ones.
        """
        return [
            search
            for search in parse_searches(self.log(), ROOT_DN)
            if bind_dn is None or search.bind_dn.lower() == bind_dn.lower()
        ]

    def searches(self, bind_dn: str | None = None) -> int:
        """Return how many searches slapd was asked so far; see :meth:`search_log`."""
        return len(self.search_log(bind_dn))

    def _slapadd(self, database: str, ldif: str) -> None:
        command = [_SLAPADD, "-q", "-F", str(self._config), database]
        self._run(command, ldif, seconds=HANG + len(ldif) / _OCTETS_A_SECOND)

    def _ldap_tool(self, tool: str, ldif: str, *options: str, accept: tuple[int, ...] = (0,)) -> None:
        command = [tool, "-x", "-H", self.uri, "-D", ROOT_DN, "-w", ROOT_PASSWORD, *options]
        self._run(command, ldif, accept)

    @staticmethod
    def _run(command: list[str], ldif: str, accept: tuple[int, ...] = (0,), seconds: float = HANG) -> None:
        done = subprocess.run(command, check=False, input=ldif.encode(), capture_output=True, timeout=seconds)
        if done.returncode not in accept:
            message = f"{command[0]}: {done.returncode}: {done.stderr.decode(errors='replace')}"
            raise RuntimeError(message)
