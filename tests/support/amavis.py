"""A private, real amavisd as Zimbra runs it: SMTP in on one port, SMTP out to a re-injection port.

Virus and spam scanners are off: what matters here is that a message and its envelope pass. A file named *.exe is
banned: the message goes to quarantine, nobody is told, and an administrator may release it.
"""

from __future__ import annotations

import atexit
import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.support.ports import HANG, LOOPBACK, free_port, listens
from tests.support.processes import end, wait_until_serving

if TYPE_CHECKING:
    from typing_extensions import Self

_AMAVISD: Final = "/usr/sbin/amavisd"
_CONFIG: Final = """\
use strict;
$max_servers = 2;
$daemon_user = 'amavis'; $daemon_group = 'amavis';
$MYHOME = '{home}'; $helpers_home = $MYHOME; $TEMPBASE = "$MYHOME/tmp"; $db_home = "$MYHOME/db";
$QUARANTINEDIR = "$MYHOME/quarantine"; $lock_file = "$MYHOME/lock"; $pid_file = "$MYHOME/pid";
$enable_db = 0; $enable_global_cache = 0; $enable_zmq = 0;
$mydomain = 'example.test'; $myhostname = 'mx1.example.test';
$inet_socket_bind = '127.0.0.1'; $inet_socket_port = [{port}, {release}]; @inet_acl = qw(127.0.0.1);
$interface_policy{{'{release}'}} = 'RELEASE';
$policy_bank{{'RELEASE'}} = {{ protocol => 'AM.PDP', inet_acl => [qw(127.0.0.1)], auth_required_release => 0 }};
$forward_method = 'smtp:[127.0.0.1]:{forward}'; $notify_method = $forward_method;
@local_domains_maps = (1);
@bypass_virus_checks_maps = (1); @bypass_spam_checks_maps = (1);
@bypass_header_checks_maps = (1);
$banned_filename_re = new_RE(qr'[.]exe$'i); $final_banned_destiny = D_DISCARD;
$banned_files_quarantine_method = 'local:banned-%m'; $banned_admin = undef; $warnbannedrecip = 1;
$enable_dkim_verification = 0; $enable_dkim_signing = 0;
@decoders = ();
$do_syslog = 0; $LOGFILE = "$MYHOME/log"; $log_level = 1;
1;
"""


class Amavis:
    """An amavisd of one's own.

    Attributes:
        port: where it takes mail, on 127.0.0.1.
        forward: where Postfix takes it back.
        quarantine: what it has banned, a file for each message.
    """

    def __init__(self, forward: int) -> None:
        """Write the configuration; nothing runs yet.

        Args:
            forward: the port of Postfix that gets the mail back.
        """
        self.forward = forward
        self.port, self._release_port = free_port(), free_port()
        self.directory = Path(tempfile.mkdtemp(prefix="amavis-"))
        self.directory.chmod(0o755)
        self._owner = os.getpid()
        atexit.register(self.close)
        home = self.directory / "home"
        self.quarantine = home / "quarantine"
        for folder in (home, home / "tmp", home / "db", self.quarantine):
            folder.mkdir()
            shutil.chown(folder, "amavis", "amavis")
        self._config = self.directory / "amavisd.conf"
        ports = {"port": self.port, "release": self._release_port, "forward": forward}
        self._config.write_text(_CONFIG.format(home=home, **ports), encoding="ascii")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start it; return when it takes mail."""
        command = [_AMAVISD, "-c", str(self._config), "foreground"]
        with (self.directory / "stderr").open("ab") as errors:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors)
        log = self.directory / "stderr"
        wait_until_serving(
            self._process,
            "amavisd",
            lambda: listens(self.port),
            self.close,
            lambda: log.read_text(errors="replace"),
        )
        return self

    def __exit__(self, *exception: object) -> None:
        """Stop it and remove all that it wrote."""
        self.close()

    def release(self, file: Path) -> str:
        """Have a quarantined message delivered after all, as amavisd-release(8) does; return what amavisd says."""
        name = file.name
        asked_for = {
            "request": "release",
            "mail_id": name.removeprefix("banned-"),
            "quar_type": "F",
            "mail_file": name,
        }
        request = "".join(f"{key}={value}\r\n" for key, value in asked_for.items()) + "\r\n"
        with socket.create_connection((LOOPBACK, self._release_port), HANG) as asked, asked.makefile("rb") as answer:
            asked.sendall(request.encode("ascii"))
            lines = list(iter(answer.readline, b"\r\n"))
        return b"".join(lines).decode("utf-8", "replace")

    def close(self) -> None:
        """Stop and remove everything; a no-op in a forked child, whose exit runs it too."""
        if os.getpid() != self._owner:
            return
        process, self._process = self._process, None
        if process is not None:
            end(process)
        shutil.rmtree(self.directory, ignore_errors=True)
        atexit.unregister(self.close)
