"""What a script finds in `/opt/zimbra`: its commands, its configuration, and zmconfigd at work.

`bin/zmprov` is the stand-in of `tests/support/zmprov` on a real slapd; `postconf` is the real
one on the configuration of a test's own Postfix.
"""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape

from ldap3.core.exceptions import LDAPException

from tests.support.identities import ADMIN_DN, ADMIN_PASSWORD
from tests.support.zmprov.attributes import SERVER_INHERITED
from tests.support.zmprov.errors import ServiceError
from tests.support.zmprov.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Self

    from tests.support.postfix import Postfix
    from tests.support.slapd import Slapd

_ROOT: Final = Path(__file__).resolve().parents[2]
_TURN: Final = 0.2  # seconds between two looks at the directory; Zimbra's zmconfigd takes 60
# A script of the test's may stand between the caller and the command: it sees the arguments,
# may wait, fail, or end its caller, and leaves with 0 for the command to go on.
_ZMPROV: Final = """\
#!/bin/sh
printf '%s\\n' "$*" >>'{home}/zmprov.calls'
if [ -x '{home}/before' ]; then
    '{home}/before' "$PPID" "$@" || exit $?
fi
ZIMBRA_HOME='{home}' PYTHONPATH='{root}' exec '{python}' -m tests.support.zmprov "$@"
"""


class ZimbraHome:
    """A directory in the shape of `/opt/zimbra`, or of Carbonio's `/opt/zextras`.

    Attributes:
        directory: the place itself.
        hostname: what `zmhostname` says.
        slapd: what `zmprov` reads and writes.
    """

    def __init__(
        self,
        slapd: Slapd,
        postfix: Postfix | None = None,
        *,
        hostname: str = "mx1.example.test",
        carbonio: bool = False,
    ) -> None:
        """Lay the directory out.

        Args:
            slapd: what `zmprov` reads and writes.
            postfix: what `postconf` tells of, and zmconfigd configures; none: a host without MTA.
            hostname: the name of this server in the directory.
            carbonio: with `carbonio prov` instead of `zmprov`.
        """
        self.directory = Path(tempfile.mkdtemp(prefix="zimbra-"))
        self._owner = os.getpid()
        atexit.register(self.close)
        self.hostname, self.slapd, self._postfix = hostname, slapd, postfix
        for name in ("bin", "conf", "common/sbin"):
            (self.directory / name).mkdir(parents=True)
        zmprov = _ZMPROV.format(home=self.directory, root=_ROOT, python=sys.executable)
        if carbonio:
            start = '[ "$1" = prov ] || { echo "carbonio: no such command: $1" >&2; exit 1; }\nshift\n'
            self._command("bin/carbonio", zmprov.replace("#!/bin/sh\n", f"#!/bin/sh\n{start}"))
        else:
            self._command("bin/zmprov", zmprov)
        self._command("bin/zmhostname", f"#!/bin/sh\necho {hostname}\n")
        if postfix is not None:
            for name in ("postconf", "postmap", "postqueue"):
                command = f'#!/bin/sh\nexec /usr/sbin/{name} -c {postfix.config_directory} "$@"\n'
                self._command(f"common/sbin/{name}", command)
        keys = {
            "ldap_url": slapd.uri,
            "ldap_master_url": slapd.uri,
            "zimbra_ldap_userdn": ADMIN_DN,
            "zimbra_ldap_password": ADMIN_PASSWORD,
        }
        lines = [f'<key name="{name}"><value>{escape(value)}</value></key>' for name, value in keys.items()]
        config = self.directory / "conf" / "localconfig.xml"
        config.write_text(f"<localconfig>{''.join(lines)}</localconfig>\n", encoding="utf-8")
        config.chmod(0o640)

    def __enter__(self) -> Self:
        """Return the home."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Remove it."""
        self.close()

    def close(self) -> None:
        """Remove everything; a no-op in a forked child, whose exit runs it too."""
        if os.getpid() == self._owner:
            shutil.rmtree(self.directory, ignore_errors=True)
            atexit.unregister(self.close)

    def before(self, script: str) -> None:
        """Put a shell script before every `zmprov`: $1 is its caller's process id, the rest its arguments.

        It goes on with zmprov when the script ends with 0; an empty script takes it away.
        """
        path = self.directory / "before"
        path.unlink(missing_ok=True)
        if script:
            self._command("before", f"#!/bin/bash\n{script}\n")

    @contextmanager
    def without(self, name: str) -> Iterator[None]:
        """Have one of Postfix's commands fail meanwhile."""
        path = self.directory / "common" / "sbin" / name
        text = path.read_text(encoding="utf-8")
        self._command(f"common/sbin/{name}", f"#!/bin/sh\necho '{name}: fatal: it does not work' >&2\nexit 69\n")
        try:
            yield
        finally:
            self._command(f"common/sbin/{name}", text)

    def calls(self) -> list[str]:
        """Return the arguments of every `zmprov` so far."""
        path = self.directory / "zmprov.calls"
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []

    def forget_calls(self) -> None:
        """Begin a new list of calls."""
        (self.directory / "zmprov.calls").unlink(missing_ok=True)

    def configure_postfix(self) -> None:
        """Do what zmconfigd does: from the server's attributes, over the global config's, to main.cf.

        The value of zimbraMtaSmtpdMilters counts only while zimbraMilterServerEnabled is TRUE,
        and Zimbra's own milter follows it; zimbraMtaNonSmtpdMilters counts as it is.
        """
        if self._postfix is None:
            return
        with Store(self.directory) as store:
            server = store.read(f"cn={self.hostname},cn=servers,cn=zimbra")
            config = store.config()

        def effective(name: str) -> str:
            own = server.first(name) if server else ""
            return own or (config.first(name) if name.lower() in SERVER_INHERITED else "")

        smtpd = ""
        if effective("zimbraMilterServerEnabled") == "TRUE":
            place = effective("zimbraMilterBindAddress") or "127.0.0.1"
            own = f"inet:{place}:{effective('zimbraMilterBindPort') or '7026'}"
            smtpd = ", ".join(filter(None, (effective("zimbraMtaSmtpdMilters"), own)))
        self._postfix.set_parameters(
            smtpd_milters=smtpd,
            non_smtpd_milters=effective("zimbraMtaNonSmtpdMilters"),
            # It is cut at blanks and joined with commas.
            transport_maps=", ".join(effective("zimbraMtaTransportMaps").split()),
        )

    def zmconfigd(self) -> Zmconfigd:
        """Return a zmconfigd that runs while its context is open."""
        return Zmconfigd(self)

    def _command(self, name: str, text: str) -> None:
        path = self.directory / name
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)


class Zmconfigd:
    """A thread that takes over what the directory says, again and again."""

    def __init__(self, home: ZimbraHome) -> None:
        """Prepare it for one home."""
        self._home, self._stopped = home, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        """Start it."""
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Stop it."""
        self._stopped.set()
        self._thread.join(60)

    def _run(self) -> None:
        while not self._stopped.wait(_TURN):
            # As the real one: a directory that is down is asked again in the next turn.
            with suppress(ServiceError, LDAPException):
                self._home.configure_postfix()
