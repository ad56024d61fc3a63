"""A private, real Postfix: smtpd with SASL, milters, and a Maildir for every recipient.

It needs root, as Postfix does, and touches nothing outside its temporary directory.  Mail for
any address is delivered to a Maildir named after it; an address that starts with `bounce` is
taken at RCPT and fails at delivery, so the author's own Maildir shows who was told.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.ports import HANG, free_port, happens, listens, wait_until
from tests.support.postfix_config import (
    HOSTED_DOMAINS,
    lay_out,
    main_cf,
    write_main_cf,
    write_sasl,
)
from tests.support.processes import end, group_lives, group_of, lives, wait_until_serving
from tests.support.smtp_client import RawSmtp, Sent, send

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from typing_extensions import Self

_MASTER = "/usr/lib/postfix/sbin/master"
_SENDMAIL = "/usr/sbin/sendmail"


class Postfix:
    """A Postfix of one's own.

    Attributes:
        port: where smtpd listens, on 127.0.0.1.
        directory: the temporary directory; its modes let a milter's unix socket lie in it.
        config_directory: for `postconf -c`, `postqueue -c` and the like.
    """

    def __init__(
        self,
        *,
        milters: str = "",
        users: Mapping[str, str] | None = None,
        main_cf: Mapping[str, str] | None = None,
        mynetworks: str = "",
        hosted: Sequence[str] = HOSTED_DOMAINS,
        services: Sequence[str] = (),
    ) -> None:
        """Write the configuration; nothing runs yet.

        Args:
            milters: the value of smtpd_milters and non_smtpd_milters.
            users: passwords by login, as typed: `ann@example.test`, `ann`, `Ann@Example.Test`.
            main_cf: parameters that overrule the defaults.
            mynetworks: clients that may relay without a login; nobody unless given.
            hosted: the domains that mail is accepted for without a login.
            services: further lines of master.cf, such as a re-injection port.
        """
        self.directory = Path(tempfile.mkdtemp(prefix="postfix-"))
        self.directory.chmod(0o755)
        self._owner = os.getpid()
        atexit.register(self.close)
        self.config_directory = self.directory / "config"
        self.port = free_port()
        self._parameters = _defaults(self.directory, milters, mynetworks, hosted)
        self._parameters.update(main_cf or {})
        self._changing = threading.Lock()
        """Held by who writes main.cf: zmconfigd of the tests is a thread."""
        self._master: subprocess.Popen[bytes] | None = None
        lay_out(self.directory, self.port, services)
        write_main_cf(self.directory, self._parameters)
        write_sasl(self.directory, users or {})

    def __enter__(self) -> Self:
        """Start Postfix."""
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Stop Postfix and remove all that it wrote."""
        self.close()

    def start(self) -> None:
        """Start Postfix; return when smtpd's port answers.

        Raises:
            RuntimeError: master ended at once; the message holds its log.
        """
        if self._master is not None:
            return
        # A process group of its own: master ends its daemons by process group.
        with (self.directory / "log" / "stderr").open("ab") as errors:
            master = subprocess.Popen(
                [_MASTER, "-c", str(self.config_directory)],
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                start_new_session=True,
            )
        self._master = master
        wait_until_serving(master, "postfix", lambda: listens(self.port), self.stop, self.log)

    def stop(self) -> None:
        """Stop Postfix and wait until all its processes are gone; queue and mail stay."""
        master, self._master = self._master, None
        if master is None:
            return
        end(master)
        # The daemons got the signal too; one that was just starting may sleep over it.
        if not happens(lambda: not group_lives(master.pid), within=0.3):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(master.pid, signal.SIGKILL)
            wait_until(lambda: not group_lives(master.pid), "end of Postfix")

    def close(self) -> None:
        """Stop and remove everything; a no-op in a forked child, whose exit runs it too."""
        if os.getpid() != self._owner:
            return
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)
        atexit.unregister(self.close)

    def set_parameters(self, **parameters: str) -> None:
        """Change main.cf and no more: `postconf` tells the new values, a running smtpd has the old."""
        with self._changing:
            self._parameters.update(parameters)
            write_main_cf(self.directory, self._parameters)

    def reconfigure(self, **parameters: str) -> None:
        """Change main.cf parameters and make a running Postfix take them up."""
        self.set_parameters(**parameters)
        if self._master is not None:
            self.stop()
            self.start()

    def send(
        self,
        sender: str,
        recipients: Sequence[str],
        message: bytes,
        *,
        login: str | None = None,
        password: str | None = None,
        mail_options: Sequence[str] = (),
        rcpt_options: Sequence[str] = (),
    ) -> Sent:
        """Send one message by SMTP, authenticated if a login is given."""
        return send(
            self.port,
            sender,
            recipients,
            message,
            login=login,
            password=password,
            mail_options=mail_options,
            rcpt_options=rcpt_options,
        )

    def connect(self) -> RawSmtp:
        """Open a session for exact bytes or several messages."""
        return RawSmtp(self.port)

    def sendmail(self, sender: str, recipients: Sequence[str], message: bytes) -> None:
        """Hand in a message locally: the command, then pickup(8)."""
        command = [_SENDMAIL, "-C", str(self.config_directory), "-i", "-f", sender, "--"]
        subprocess.run([*command, *recipients], input=message, check=True, capture_output=True, timeout=HANG)

    def reload(self) -> None:
        """Let every process take main.cf over, as `postfix reload` does; return when the last that has not is gone."""
        if self._master is None:
            return
        before = {process.pid for process in group_of(self._master.pid)} - {self._master.pid}
        self._master.send_signal(signal.SIGHUP)
        wait_until(lambda: not any(map(lives, before)), "the end of processes that have the main.cf of before")

    def messages(self, recipient: str) -> list[bytes]:
        """Return what was delivered to an address so far, oldest first.

        Each begins with the Return-Path, X-Original-To and Delivered-To of its delivery.
        """
        folder = self.directory / "maildir" / recipient.lower() / "new"
        if not folder.is_dir():
            return []
        return [path.read_bytes() for path in sorted(folder.iterdir())]

    def recipients(self) -> set[str]:
        """Return every address that mail was delivered to, in lower case."""
        return {folder.name for folder in (self.directory / "maildir").iterdir()}

    def wait_delivered(self, recipient: str, count: int = 1, timeout: float = HANG) -> list[bytes]:
        """Return the messages of an address once there are `count` of them.

        Raises:
            TimeoutError: there are fewer; the message ends with the mail log.
        """
        try:
            what = f"{count} message(s) for {recipient}"
            wait_until(lambda: len(self.messages(recipient)) >= count, what, timeout)
        except TimeoutError as error:
            message = f"{error}\n{self.log()[-3000:]}"
            raise TimeoutError(message) from None
        return self.messages(recipient)

    def queue_idle(self, timeout: float = HANG) -> None:
        """Wait until no message is under way, bounces included.

        Only then does an empty Maildir mean that nothing was sent.

        Raises:
            TimeoutError: something stays queued, perhaps deferred; with the mail log.
        """
        try:
            # Twice: a bounce enters one queue while its cause leaves another.
            wait_until(lambda: self.is_empty() and self.is_empty(), "an empty queue", timeout)
        except TimeoutError as error:
            message = f"{error}\n{self.log()[-3000:]}"
            raise TimeoutError(message) from None

    def log(self) -> str:
        """Return the mail log so far."""
        path = self.directory / "log" / "mail.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def said(self, *words: str) -> list[str]:
        """Wait until a line of the mail log holds all of `words`; return those that do.

        The line is written by postlogd(8), a moment after the message was answered or delivered.
        """

        def lines() -> list[str]:
            return [line for line in self.log().splitlines() if all(word in line for word in words)]

        wait_until(lambda: lines() != [], f"a line of the mail log with {words}")
        return lines()

    def is_empty(self) -> bool:
        """Tell whether nothing is in the queue, on hold or not."""
        queue = self.directory / "queue"
        names = ("maildrop", "incoming", "active", "deferred", "hold")
        return not any(files for name in names for _, _, files in os.walk(queue / name))


def _defaults(root: Path, milters: str, mynetworks: str, hosted: Sequence[str]) -> dict[str, str]:
    return main_cf(root, milters=milters, mynetworks=mynetworks, hosted=hosted)
