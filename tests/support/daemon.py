"""The real daemon in a process of its own, and the command line beside it.

What it is told stands in a `config.ini` in a temporary directory; what it says on stderr is
kept in a file.  It runs in a process group of its own, so that nothing of it outlives a test.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ldapmilter.config_options import SECTIONS
from tests.support.ports import HANG, wait_until
from tests.support.processes import group_lives

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from typing_extensions import Self

    from tests.support.slapd import Slapd

Sections = dict[str, dict[str, str]]

# What a terminal can show does not depend on who runs the tests, and where.
_TERMINAL = {"TERM": "xterm", "NO_COLOR": ""}

_HEAD = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (?:debug|info|warning|error): ", re.MULTILINE)


class Daemon:
    """One `ldapmilter run` with its configuration.

    Attributes:
        directory: the temporary directory; anybody may pass through it.
        config: the configuration file; a test may rewrite it before a start.
    """

    def __init__(
        self,
        slapd: Slapd | None = None,
        sections: Mapping[str, Mapping[str, str]] | None = None,
        *,
        environment: Mapping[str, str] | None = None,
        arguments: Sequence[str] = (),
        under: Sequence[str] = (),
    ) -> None:
        """Write the configuration; nothing runs yet.

        Args:
            slapd: the directory that it asks; without one the sections name it.
            sections: options by section; they overrule the defaults of the tests: a unix socket
                that anybody may use, and slapd's address and credentials.
            environment: more environment variables.
            arguments: more arguments of `run`.
            under: a command that runs the daemon, in the same process.
        """
        self.directory = Path(tempfile.mkdtemp(prefix="daemon-"))
        self.directory.chmod(0o755)
        self._owner = os.getpid()
        atexit.register(self.close)
        self.config = self.directory / "config.ini"
        self._errors = self.directory / "stderr"
        self._errors.touch()
        self._environment = {**os.environ, **_TERMINAL, **(environment or {})}
        self._start = [*under, *self._command("run", *arguments)]
        self._process: subprocess.Popen[bytes] | None = None
        self._sections = self._defaults(slapd)
        for name, options in (sections or {}).items():
            self._sections.setdefault(name, {}).update(options)
        self._write()

    def __enter__(self) -> Self:
        """Start the daemon."""
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Stop the daemon and remove all that it wrote."""
        self.close()

    @property
    def socket(self) -> str:
        """Where it listens, as the configuration says and as `smtpd_milters` takes it."""
        return self._sections["milter"]["socket"]

    @property
    def socket_path(self) -> Path:
        """The path of its unix socket."""
        return Path(self.socket.removeprefix("unix:"))

    @property
    def pid(self) -> int:
        """The process that was started."""
        if self._process is None:
            message = "the daemon does not run"
            raise RuntimeError(message)
        return self._process.pid

    def start(self) -> None:
        """Start the daemon; return when it accepts connections, and answers for itself.

        Raises:
            RuntimeError: it ended at once; the message holds what it said.
            TimeoutError: it does not listen.
        """
        if self._process is not None:
            return
        with self._errors.open("ab") as errors:
            process = subprocess.Popen(
                self._start,
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                env=self._environment,
                cwd=self.directory,
                start_new_session=True,
            )
        self._process = process
        try:
            wait_until(lambda: process.poll() is not None or (self.listens() and self._can_be_asked()), "the daemon")
        except TimeoutError as error:
            self.kill()
            message = f"{error}\n{self.log()[-2000:]}"
            raise TimeoutError(message) from None
        if process.poll() is not None:
            self._process = None
            message = f"the daemon ended with {process.returncode}: {self.log()[-2000:]}"
            raise RuntimeError(message)

    def stop(self) -> int:
        """Send SIGTERM, wait until it is gone and return its exit status.

        Raises:
            subprocess.TimeoutExpired: it was not gone in time; it is killed then.
        """
        try:
            return self.terminate()
        finally:
            self.kill()

    def terminate(self) -> int:
        """Send SIGTERM, wait until it is gone and return its exit status; leave alone what outlives it.

        Raises:
            subprocess.TimeoutExpired: it was not gone in time.
        """
        process = self._process
        if process is None:
            return 0
        process.send_signal(signal.SIGTERM)
        return process.wait(HANG)

    def kill(self) -> None:
        """End it and everything that it started, as a crash would; return when nobody has its sockets any more."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(HANG)
        wait_until(lambda: not group_lives(process.pid), "the end of what the daemon started")

    def forget(self) -> None:
        """Take it for gone, after it was killed; what it started is left alone."""
        process, self._process = self._process, None
        if process is not None:
            process.wait(HANG)

    def close(self) -> None:
        """Stop and remove everything; a no-op in a forked child, whose exit runs it too."""
        if os.getpid() != self._owner:
            return
        try:
            self.stop()
        finally:
            shutil.rmtree(self.directory, ignore_errors=True)
            atexit.unregister(self.close)

    def listens(self) -> bool:
        """Tell whether it accepts connections."""
        kind, _, place = self.socket.partition(":")
        if kind == "unix":
            return _accepts(place)
        host, _, port = place.rpartition(":")
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex((host, int(port))) == 0

    def log(self) -> str:
        """Return all that it wrote to stderr, over restarts, without the time and severity of each line."""
        return _HEAD.sub("", self.written())

    def written(self) -> str:
        """Return all that it wrote to stderr, over restarts, as it stands there."""
        return self._errors.read_text(encoding="utf-8", errors="replace")

    def log_lines(self, *words: str) -> list[str]:
        """Return the lines of the log that hold all of `words`."""
        return [line for line in self.log().splitlines() if all(word in line for word in words)]

    def said(self, *words: str) -> list[str]:
        """Wait until a line of the log holds all of `words`; return those that do.

        The log is written a moment after the message was answered, on a busy machine a long one.
        """
        wait_until(lambda: self.log_lines(*words) != [], f"a line with {words}")
        return self.log_lines(*words)

    def configure(self, sections: Mapping[str, Mapping[str, str]]) -> None:
        """Change options in the configuration file; the daemon reads it when it starts."""
        for name, options in sections.items():
            self._sections.setdefault(name, {}).update(options)
        self._write()

    def cli(
        self, *arguments: str, config: Path | None = None, timeout: float = HANG
    ) -> subprocess.CompletedProcess[str]:
        """Run a verb with this configuration, or another, to its end; return status, stdout and stderr."""
        return self.cli_to(subprocess.PIPE, *arguments, config=config, timeout=timeout)

    def cli_to(
        self, stdout: int, *arguments: str, config: Path | None = None, timeout: float = HANG
    ) -> subprocess.CompletedProcess[str]:
        """Run a verb to its end with its stdout going to a descriptor of the caller's."""
        return subprocess.run(
            self._command(*arguments, config=config),
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            timeout=timeout,
            env=self._environment,
            cwd=self.directory,
        )

    def explain(self, *arguments: str) -> dict[str, Any]:
        """Run `explain --json`; return what it printed, with `exit_status` and `stderr` added."""
        return self._json("explain", *arguments)

    def probe(self, *arguments: str) -> dict[str, Any]:
        """Run `probe --json`; return what it printed, with `exit_status` and `stderr` added."""
        return self._json("probe", *arguments)

    def _can_be_asked(self) -> bool:
        """Tell whether the control socket accepts connections, which it does after the milter's, if there is one."""
        place = self._sections.get("control", {}).get("socket", "")
        return not place or place not in self.config.read_text(encoding="utf-8") or _accepts(place)

    def _json(self, verb: str, *arguments: str) -> dict[str, Any]:
        done = self.cli(verb, "--json", *arguments)
        told: dict[str, Any] = json.loads(done.stdout) if done.stdout else {}
        return {**told, "exit_status": done.returncode, "stderr": done.stderr}

    def _command(self, *arguments: str, config: Path | None = None) -> list[str]:
        return [sys.executable, "-m", "ldapmilter", "--config", str(config or self.config), *arguments]

    def _defaults(self, slapd: Slapd | None) -> Sections:
        sections: Sections = {
            "milter": {
                "socket": f"unix:{self.directory / 'milter.sock'}",
                "socket_mode": "0666",
                "socket_group": "",
                "workers": "1",  # what one worker has cached, another has not: tests of several say so
            }
        }
        if slapd is not None:
            secret = self.directory / "ldap.secret"
            secret.write_text(slapd.password + "\n", encoding="utf-8")
            secret.chmod(0o600)
            sections["ldap"] = {
                "uri": slapd.uri,
                "bind_dn": slapd.bind_dn,
                "bind_password_file": str(secret),
                "starttls": "yes" if slapd.ca_file else "no",
                "ca_file": str(slapd.ca_file or ""),
                "follow_changes": "no",  # tests count searches, and say when a cache is to forget
            }
        # Whatever else it writes belongs here too, as soon as it knows these sections.
        own = {"control": ("socket", "control.sock"), "audit": ("file", "audit.jsonl")}
        for name, (option, file) in own.items():
            if option in SECTIONS.get(name, {}):
                sections[name] = {option: str(self.directory / file)}
        return sections

    def _write(self) -> None:
        text = "".join(
            f"[{name}]\n" + "".join(f"{option} = {value}\n" for option, value in options.items())
            for name, options in self._sections.items()
        )
        self.config.write_text(text, encoding="utf-8")


def _accepts(path: str) -> bool:
    """Tell whether something accepts connections on a unix socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        return probe.connect_ex(path) == 0
