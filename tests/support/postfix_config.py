"""The files of a private Postfix: main.cf, master.cf, SASL accounts, delivery script.

Delivery is by pipe(8) to a small script that writes a Maildir per recipient.  virtual(8)
would be the obvious agent, but it refuses `$1` in a regexp map, and the recipients are not
known beforehand: what a milter adds is what the tests look for.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Final

from tests.support.ports import HANG

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

HOSTNAME: Final = "mx1.example.test"
HOSTED_DOMAINS: Final = ("example.test", "alias.test")

_QUEUES: Final = "active bounce corrupt defer deferred flush hold incoming private saved trace"

_DELIVER: Final = """\
#!/bin/sh
# deliver BASE RECIPIENT: the message on stdin goes to BASE/RECIPIENT/new.
# The exit codes are those of sysexits.h; 67, no such user, makes pipe(8) bounce with 5.1.1.
umask 022
case $2 in
    bounce*) exit 67 ;;
    ''|.*|*/*) exit 64 ;;
esac
mkdir -p "$1/$2/tmp" "$1/$2/new" "$1/$2/cur" || exit 75
name=$(date +%s.%N).$$
cat > "$1/$2/tmp/$name" && mv "$1/$2/tmp/$name" "$1/$2/new/$name" || exit 75
"""

_MASTER_CF: Final = """\
127.0.0.1:{port} inet n  -       n       -       -       smtpd
pickup    unix  n       -       n       60      1       pickup
cleanup   unix  n       -       n       -       0       cleanup
qmgr      unix  n       -       n       300     1       qmgr
tlsmgr    unix  -       -       n       1000?   1       tlsmgr
rewrite   unix  -       -       n       -       -       trivial-rewrite
bounce    unix  -       -       n       -       0       bounce
defer     unix  -       -       n       -       0       bounce
trace     unix  -       -       n       -       0       bounce
verify    unix  -       -       n       -       1       verify
flush     unix  n       -       n       1000?   0       flush
proxymap  unix  -       -       n       -       -       proxymap
proxywrite unix -       -       n       -       1       proxymap
smtp      unix  -       -       n       -       -       smtp
relay     unix  -       -       n       -       -       smtp
showq     unix  n       -       n       -       -       showq
error     unix  -       -       n       -       -       error
retry     unix  -       -       n       -       -       error
discard   unix  -       -       n       -       -       discard
lmtp      unix  -       -       n       -       -       lmtp
anvil     unix  -       -       n       -       1       anvil
scache    unix  -       -       n       -       1       scache
postlog   unix-dgram n  -       n       -       1       postlogd
maildirs  unix  -       n       n       -       20      pipe
  flags=DORhu user=nobody argv={root}/deliver {root}/maildir ${{recipient}}
"""


def main_cf(root: Path, *, milters: str, mynetworks: str, hosted: Sequence[str]) -> dict[str, str]:
    """Return the parameters that a test may overrule one by one."""
    return {
        "compatibility_level": "3.6",
        "config_directory": str(root / "config"),
        "queue_directory": str(root / "queue"),
        "data_directory": str(root / "data"),
        "maillog_file": str(root / "log" / "mail.log"),
        "maillog_file_prefixes": str(root),
        "myhostname": HOSTNAME,
        "mydomain": "example.test",
        "mydestination": "",
        "mynetworks": mynetworks,
        "inet_interfaces": "loopback-only",
        "inet_protocols": "ipv4",
        "alias_maps": "",
        "alias_database": "",
        "append_dot_mydomain": "no",
        "biff": "no",
        "smtputf8_enable": "no",
        "smtpd_discard_ehlo_keywords": "chunking",
        "message_size_limit": "52428800",
        # Who may send where: anybody to the hosted domains, users to anywhere.
        "virtual_mailbox_domains": " ".join(hosted),
        "virtual_mailbox_maps": "static:all",
        "smtpd_relay_restrictions": ("permit_mynetworks permit_sasl_authenticated reject_unauth_destination"),
        "smtpd_sasl_auth_enable": "yes",
        "smtpd_sasl_type": "cyrus",
        "smtpd_sasl_path": "smtpd",
        "cyrus_sasl_config_path": str(root / "config" / "sasl"),
        "smtpd_sasl_local_domain": "",
        "smtpd_sasl_security_options": "noanonymous",
        # Everything ends in a Maildir here.
        "default_transport": "maildirs",
        "virtual_transport": "maildirs",
        "relay_transport": "maildirs",
        "local_transport": "maildirs",
        "maildirs_destination_recipient_limit": "1",
        "smtp_dns_support_level": "disabled",
        "lmtp_dns_support_level": "disabled",
        "fast_flush_domains": "",
        "notify_classes": "",
        "authorized_submit_users": "root",
        # A milter that hangs must not hold a test for minutes, nor a busy machine make one seem to hang.
        "smtpd_milters": milters,
        "non_smtpd_milters": milters,
        "milter_connect_timeout": "30s",
        "milter_command_timeout": "30s",
        "milter_content_timeout": "60s",
        # Many quick messages from one client are what a test is.
        "smtpd_client_event_limit_exceptions": "static:all",
        "smtpd_error_sleep_time": "0",
        "in_flow_delay": "0",
    }


def lay_out(root: Path, port: int, services: Sequence[str]) -> None:
    """Make the directories, with the owners that Postfix insists on, and the fixed files."""
    owner, nobody = pwd.getpwnam("postfix"), pwd.getpwnam("nobody")
    for name in ("config", "config/sasl", "queue", "data", "log", "maildir"):
        (root / name).mkdir()
    for name in _QUEUES.split():
        directory = root / "queue" / name
        directory.mkdir(mode=0o700)
        os.chown(directory, owner.pw_uid, 0)
    (root / "queue" / "pid").mkdir()
    for name, mode in (("public", 0o710), ("maildrop", 0o1730)):
        directory = root / "queue" / name
        directory.mkdir()
        shutil.chown(directory, "postfix", "postdrop")
        directory.chmod(mode)
    (root / "data").chmod(0o700)
    for directory in (root / "data", root / "log"):
        os.chown(directory, owner.pw_uid, owner.pw_gid)
    os.chown(root / "maildir", nobody.pw_uid, nobody.pw_gid)
    script = root / "deliver"
    script.write_text(_DELIVER, encoding="ascii")
    script.chmod(0o755)
    extra = "".join(f"{service}\n" for service in services)
    master = _MASTER_CF.format(port=port, root=root) + extra
    (root / "config" / "master.cf").write_text(master, encoding="ascii")


def write_main_cf(root: Path, parameters: Mapping[str, str]) -> None:
    """Write main.cf, back-dated: Postfix waits two seconds before it trusts a fresh one.

    It is put in place whole: a delivery agent may be starting this very moment.
    """
    text = "".join(f"{name} = {value}\n" for name, value in parameters.items())
    path = root / "config" / "main.cf"
    fresh = path.with_name(f"main.cf.{threading.get_ident()}")
    fresh.write_text(text, encoding="utf-8")
    os.utime(fresh, (time.time() - 60,) * 2)
    fresh.replace(path)


def write_sasl(root: Path, users: Mapping[str, str]) -> None:
    """Write the password database and Cyrus SASL's configuration for smtpd.

    A login without a domain is looked up in the realm of the host's name; what the client
    typed is still what Postfix tells the milter.  Debian's Postfix looks for SASL's
    configuration below its own and nowhere else.
    """
    folder = root / "config" / "sasl"
    database = folder / "sasldb2"
    (folder / "smtpd.conf").write_text(
        f"pwcheck_method: auxprop\nauxprop_plugin: sasldb\nmech_list: PLAIN LOGIN\nsasldb_path: {database}\n",
        encoding="ascii",
    )
    for login, password in users.items():
        user, _, realm = login.rpartition("@") if "@" in login else (login, "", HOSTNAME)
        subprocess.run(
            ["saslpasswd2", "-c", "-p", "-f", str(database), "-u", realm, user],
            input=password.encode(),
            check=True,
            capture_output=True,
            timeout=HANG,
        )
    if users:
        shutil.chown(database, "postfix", "postfix")
