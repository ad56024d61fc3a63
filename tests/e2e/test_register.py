"""scripts/register and scripts/unregister on a Zimbra of the tests: real slapd, real postconf."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.support.builders import cos, domain, global_config, server, static_list
from tests.support.identities import ADMIN_DN, ADMIN_PASSWORD
from tests.support.ports import HANG, free_port, wait_until
from tests.support.postfix import Postfix
from tests.support.record import merge
from tests.support.slapd import Slapd
from tests.support.zimbra_base import base_records
from tests.support.zimbra_home import ZimbraHome

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPTS: Final = Path(__file__).resolve().parents[2] / "scripts"
HOST: Final = "mx1.example.test"
SERVER_DN: Final = f"cn={HOST},cn=servers,cn=zimbra"
CONFIG_DN: Final = "cn=config,cn=zimbra"
SMTPD, NON_SMTPD, SWITCH = "zimbraMtaSmtpdMilters", "zimbraMtaNonSmtpdMilters", "zimbraMilterServerEnabled"
EXTRA: Final = (
    "zimbraCosExtraObjectClass",
    "zimbraAccountExtraObjectClass",
    "zimbraCalendarResourceExtraObjectClass",
    "zimbraDomainExtraObjectClass",
)
CLASS: Final = "ldapMilterPolicy"
POSTFIX: Final = ("smtpd_milters", "non_smtpd_milters")


class Site:
    """A directory, a Postfix and a Zimbra home between them, and two sockets that answer.

    Attributes:
        milter: the address that is registered; something listens there.
        zimbra: where Zimbra's own milter listens.
    """

    def __init__(self, slapd: Slapd, postfix: Postfix, home: ZimbraHome) -> None:
        self.slapd, self.postfix, self.home = slapd, postfix, home
        self._listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
        self.milter, self.zimbra = (f"inet:127.0.0.1:{held.getsockname()[1]}" for held in self._listeners)

    def close(self) -> None:
        for listener in self._listeners:
            listener.close()

    def run(
        self, script: str, *arguments: str, wait: int = 60, classes: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Run a script to its end; the object classes are left alone unless a test is about them."""
        if script == "register" and not classes:
            arguments = (*arguments, "--no-object-class")
        command = [str(SCRIPTS / script), *arguments, "--zimbra-home", str(self.home.directory), "--wait", str(wait)]
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=2 * HANG)

    def values(self, dn: str, attribute: str) -> list[str]:
        _, text = self.slapd.search(ADMIN_DN, ADMIN_PASSWORD, "-s", "base", "-b", dn, "(objectClass=*)", attribute)
        start = f"{attribute}: "
        return sorted(line.removeprefix(start) for line in text.splitlines() if line.startswith(start))

    def of_server(self) -> tuple[list[str], list[str], list[str]]:
        return self.values(SERVER_DN, SMTPD), self.values(SERVER_DN, NON_SMTPD), self.values(SERVER_DN, SWITCH)

    def set(self, dn: str, **values: str) -> None:
        """Replace the values of attributes; "" takes the attribute away."""
        changes = [f"replace: {name}\n" + (f"{name}: {value}\n" if value else "") for name, value in values.items()]
        self.slapd.modify(f"dn: {dn}\nchangetype: modify\n" + "-\n".join(changes))

    def reset(self) -> None:
        """Bring server and global config back to where every test starts: no milter, switch on."""
        self.home.before("")
        self.home.forget_calls()
        self.set(SERVER_DN, **{SMTPD: "", NON_SMTPD: "", SWITCH: ""})
        port = self.zimbra.rpartition(":")[2]
        self.set(CONFIG_DN, **{SMTPD: "", NON_SMTPD: "", SWITCH: "TRUE", "zimbraMilterBindPort": port})
        taken = "".join(f"-\nreplace: {name}\n" for name in EXTRA[:1])
        kept = "".join(f"-\nreplace: {name}\n{name}: amavisAccount\n" for name in EXTRA[1:])
        classes = "replace: objectClass\nobjectClass: organizationalRole\nobjectClass: zimbraGlobalConfig\n"
        self.slapd.modify(f"dn: {CONFIG_DN}\nchangetype: modify\n{classes}{taken}{kept}")
        self.postfix.set_parameters(smtpd_milters="", non_smtpd_milters="")


@pytest.fixture(scope="module")
def servers() -> Iterator[Site]:
    data = merge(
        [
            *base_records(),
            *global_config(zimbraDefaultDomainName="example.test"),
            *domain("example.test"),
            *domain("quiet.test"),
            *cos("sales"),
            *server(HOST, ["mta"]),
            *server("mbox1.example.test", ["mailbox"]),
            *static_list("board@example.test", [], zimbraACE="0b6d6a52 usr sendToDistList"),
            *static_list("open@example.test", [], zimbraACE="0b6d6a52 usr sendAsDistList"),
        ]
    )
    with Slapd(data) as slapd, Postfix() as postfix, ZimbraHome(slapd, postfix) as home, home.zmconfigd():
        site = Site(slapd, postfix, home)
        yield site
        site.close()


@pytest.fixture
def site(servers: Site) -> Site:
    servers.reset()
    return servers


def writes(site: Site) -> list[str]:
    return [call for call in site.home.calls() if " ms " in call or " mcf " in call]


def test_a_milter_is_registered_and_postfix_has_it(site: Site) -> None:
    done = site.run("register", site.milter, classes=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert site.of_server() == ([site.milter], [site.milter], [])
    assert f"smtpd_milters = {site.milter}, {site.zimbra}\n" in done.stdout
    told = subprocess.run(
        ["/usr/sbin/postconf", "-c", site.postfix.config_directory, "-h", "smtpd_milters", "non_smtpd_milters"],
        check=True, capture_output=True, text=True, timeout=HANG,
    )  # fmt: skip
    assert told.stdout.splitlines() == [f"{site.milter}, {site.zimbra}", site.milter]


def test_twice_is_once(site: Site) -> None:
    assert site.run("register", site.milter, classes=True).returncode == 0
    before = writes(site)
    done = site.run("register", site.milter, classes=True)
    assert (done.returncode, writes(site)) == (0, before)
    assert "nothing to change" in done.stdout


def test_others_keep_their_places_and_come_back_as_they_were(site: Site) -> None:
    others = "inet:127.0.0.1:8891,{ inet:127.0.0.1:9, default_action=accept } unix:/x"
    site.set(SERVER_DN, **{SMTPD: others, NON_SMTPD: "inet:127.0.0.1:8891"})
    assert site.run("register", site.milter, "--before", "unix:/x").returncode == 0
    first = "inet:127.0.0.1:8891,{ inet:127.0.0.1:9, default_action=accept }"
    assert site.of_server()[0] == [f"{first}, {site.milter} unix:/x"]
    assert site.of_server()[1] == [f"inet:127.0.0.1:8891, {site.milter}"]
    assert site.run("unregister", site.milter).returncode == 0
    assert site.of_server() == ([others], ["inet:127.0.0.1:8891"], [])


def test_the_global_value_is_taken_over_and_shows_again(site: Site) -> None:
    site.set(CONFIG_DN, **{SMTPD: "inet:127.0.0.1:8891"})
    done = site.run("register", site.milter)
    assert site.of_server()[0] == [f"inet:127.0.0.1:8891, {site.milter}"]
    assert "came from the global config" in done.stdout
    assert site.run("unregister", site.milter).returncode == 0
    assert site.of_server() == ([], [], [])
    assert site.values(CONFIG_DN, SMTPD) == ["inet:127.0.0.1:8891"]


def test_a_milter_in_the_global_config_needs_nothing_on_the_server(site: Site) -> None:
    site.set(CONFIG_DN, **{SMTPD: site.milter, NON_SMTPD: site.milter})
    assert site.run("register", site.milter).returncode == 0
    assert site.of_server() == ([], [], [])
    done = site.run("unregister", site.milter)
    assert (done.returncode, "every server" in done.stderr) == (1, True)
    assert f"zmprov mcf {SMTPD} ''" in done.stderr


def test_more_than_zimbra_keeps_is_refused_whole(site: Site) -> None:
    full = ", ".join(f"unix:/run/{number:030d}" for number in range(24))
    site.set(SERVER_DN, **{SMTPD: full})
    done = site.run("register", site.milter)
    assert (done.returncode, "1024" in done.stderr) == (1, True)
    assert site.of_server() == ([full], [], [])
    assert writes(site) == []


def test_the_switch_is_not_thrown_unasked_and_what_it_starts_is_told(site: Site) -> None:
    site.set(CONFIG_DN, **{SWITCH: "FALSE"})
    done = site.run("register", site.milter)
    assert (done.returncode, "--enable-milter-server" in done.stderr) == (1, True)
    assert "  board@example.test\n" in done.stdout
    assert "open@example.test" not in done.stdout
    assert writes(site) == []
    assert site.run("register", site.milter, "--enable-milter-server").returncode == 0
    assert site.of_server() == ([site.milter], [site.milter], ["TRUE"])
    # All the server's attributes in one command: nobody sees half of it.
    assert len([call for call in writes(site) if " ms " in call]) == 1


def test_grants_on_domains_and_everywhere_are_told(site: Site) -> None:
    site.set(CONFIG_DN, **{SWITCH: "FALSE"})
    site.set("dc=quiet,dc=test", zimbraACE="0b6d6a52 usr sendToDistList")
    try:
        done = site.run("register", site.milter)
    finally:
        site.set("dc=quiet,dc=test", zimbraACE="")
    assert "  *@quiet.test\n" in done.stdout
    assert "*@example.test" not in done.stdout


def test_a_dead_milter_that_the_switch_would_wake_is_named(site: Site) -> None:
    dead = f"inet:127.0.0.1:{free_port()}"
    site.set(CONFIG_DN, **{SWITCH: "FALSE"})
    site.set(SERVER_DN, **{SMTPD: dead})
    done = site.run("register", site.milter, "--enable-milter-server")
    assert (done.returncode, f"nothing answers at {dead}" in done.stderr) == (1, True)
    assert writes(site) == []


def test_the_switch_goes_back_when_told_to_and_only_then(site: Site) -> None:
    site.set(CONFIG_DN, **{SWITCH: "FALSE"})
    assert site.run("register", site.milter, "--enable-milter-server").returncode == 0
    done = site.run("unregister", site.milter)
    assert site.of_server() == ([], [], ["TRUE"])
    assert "stays TRUE" in done.stdout
    assert site.run("unregister", site.milter, "--disable-milter-server").returncode == 0
    assert site.of_server() == ([], [], [])


def test_the_switch_stays_while_others_need_it(site: Site) -> None:
    site.set(SERVER_DN, **{SMTPD: f"unix:/x {site.milter}"})
    done = site.run("unregister", site.milter, "--disable-milter-server")
    assert (done.returncode, "unix:/x" in done.stderr) == (1, True)
    assert writes(site) == []


def test_new_entries_can_carry_policy(site: Site) -> None:
    assert site.run("register", site.milter, classes=True).returncode == 0
    for attribute in EXTRA:
        assert CLASS in site.values(CONFIG_DN, attribute)
    assert CLASS in site.values(CONFIG_DN, "objectClass")
    zmprov = str(site.home.directory / "bin" / "zmprov")
    policy = ("ldapMilterArchiveBcc", "vault@keep.test")
    for command in (("ca", "new@example.test", "secret"), ("cc", "new"), ("cd", "new.test")):
        subprocess.run([zmprov, *command, *policy], check=True, capture_output=True, timeout=HANG)
    # The default COS passes its policy on to every new one: that is why its class has to be allowed.
    subprocess.run([zmprov, "mc", "default", "+objectClass", CLASS, *policy], check=True, timeout=HANG)
    subprocess.run([zmprov, "cc", "newer"], check=True, capture_output=True, timeout=HANG)
    done = site.run("unregister", site.milter, "--object-class")
    assert (done.returncode, "default new newer" in done.stderr) == (1, True)
    for name in ("new", "newer"):
        subprocess.run([zmprov, "dc", name], check=True, timeout=HANG)
    subprocess.run([zmprov, "mc", "default", "-objectClass", CLASS, policy[0], ""], check=True, timeout=HANG)
    assert site.run("unregister", site.milter, "--object-class").returncode == 0
    for attribute in ("objectClass", *EXTRA):
        assert CLASS not in site.values(CONFIG_DN, attribute)


def test_policy_on_the_global_config_keeps_its_class(site: Site) -> None:
    assert site.run("register", site.milter, classes=True).returncode == 0
    site.set(CONFIG_DN, ldapMilterArchiveBcc="vault@keep.test")
    done = site.run("unregister", site.milter, "--object-class")
    site.set(CONFIG_DN, ldapMilterArchiveBcc="")
    assert (done.returncode, "global config" in done.stderr) == (1, True)
    assert site.of_server()[0] == [site.milter]


def test_without_the_class_nothing_of_it_is_touched(site: Site) -> None:
    assert site.run("register", site.milter, classes=False).returncode == 0
    for attribute in ("objectClass", *EXTRA):
        assert CLASS not in site.values(CONFIG_DN, attribute)


@pytest.mark.parametrize("script", ["register", "unregister"])
def test_a_dry_run_prints_what_would_run_and_changes_nothing(site: Site, script: str) -> None:
    if script == "unregister":
        site.set(SERVER_DN, **{SMTPD: f"{site.milter} unix:/x"})
    before = site.slapd.slapcat()
    done = site.run(script, site.milter, "--dry-run", classes=True)
    lines = [line.strip() for line in done.stdout.splitlines() if line.startswith("  zmprov ")]
    assert (done.returncode, writes(site), site.slapd.slapcat()) == (0, [], before)
    # What it printed does it: typed by hand the outcome is the same.
    for line in lines:
        path = f"{site.home.directory}/bin:{os.environ['PATH']}"
        subprocess.run(["bash", "-ec", line], check=True, env={**os.environ, "PATH": path}, timeout=HANG)
    expected = [[site.milter], [site.milter], []] if script == "register" else [["unix:/x"], [], []]
    assert list(site.of_server()) == expected
    assert "nothing to change" in site.run(script, site.milter, classes=True).stdout


def test_nothing_listens(site: Site) -> None:
    silent = f"inet:127.0.0.1:{free_port()}"
    done = site.run("register", silent)
    assert (done.returncode, f"nothing listens at {silent}" in done.stderr) == (1, True)
    assert writes(site) == []
    assert site.run("register", silent, "--not-yet-running").returncode == 0
    assert site.of_server()[0] == [silent]


def test_a_unix_socket(site: Site) -> None:
    path = site.home.directory / "milter.sock"
    assert "nothing listens" in site.run("register", f"unix:{path}").stderr
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        assert site.run("register", f"unix:{path}").returncode == 0
    path.unlink()
    assert site.of_server()[0] == [f"unix:{path}"]
    assert site.run("unregister", f"unix:{path}").returncode == 0


def test_libmilters_spelling_is_understood(site: Site) -> None:
    port = site.milter.rpartition(":")[2]
    assert site.run("register", f"inet:{port}@127.0.0.1").returncode == 0
    assert site.of_server()[0] == [site.milter]


def test_another_server_is_registered_and_not_verified(site: Site) -> None:
    site.home.before('[ "$4" != gs ] || exit 0')
    site.slapd.add(server("mx2.example.test", ["mta"])[0].ldif())
    done = site.run("register", "unix:/run/ldapmilter/milter.sock", "--server", "mx2.example.test")
    assert (done.returncode, "on mx2.example.test, see" in done.stdout) == (0, True)
    assert site.values("cn=mx2.example.test,cn=servers,cn=zimbra", SMTPD) == ["unix:/run/ldapmilter/milter.sock"]
    site.slapd.delete("cn=mx2.example.test,cn=servers,cn=zimbra")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["inet:8800"], "HOST:PORT"),
        (["inet:0.0.0.0:8800"], "connect to"),
        (["/run/x.sock"], "is not a milter"),
        (["unix:/a, unix:/b"], "separates milters"),
        (["unix:/a", "unix:/b"], "one milter"),
        (["--frist"], "no option --frist"),
        (["--first", "--last"], "only one of"),
        (["--before"], "needs a value"),
        (["--wait", "soon"], "number of seconds"),
        (["--server", "mbox1.example.test"], "runs no MTA"),
        (["--before", "unix:/nowhere"], "no such milter"),
    ],
)
def test_wrong_usage_is_told_in_a_line(site: Site, arguments: list[str], message: str) -> None:
    done = site.run("register", *arguments)
    assert (done.returncode, message in done.stderr, done.stderr.count("\n")) == (2, True, 1)
    assert writes(site) == []


def test_a_server_that_is_not_there(site: Site) -> None:
    done = site.run("register", "--server", "mx9.example.test")
    assert (done.returncode, "no such server: mx9.example.test" in done.stderr) == (3, True)


def test_a_value_of_several_lines_is_not_written_back_in_part(site: Site) -> None:
    # Base64 of "unix:/x,\nunix:/y": somebody pasted a line break.
    site.slapd.modify(f"dn: {SERVER_DN}\nchangetype: modify\nreplace: {SMTPD}\n{SMTPD}:: dW5peDoveCwKdW5peDoveQ==\n")
    done = site.run("register", site.milter)
    assert (done.returncode, "more than one line" in done.stderr) == (1, True)
    assert writes(site) == []


@pytest.mark.parametrize(("step", "done_already"), [("mcf", False), ("ms", True)])
def test_zmprov_fails(site: Site, step: str, done_already: bool) -> None:  # noqa: FBT001 -- a parameter of the test
    site.home.before(f'[ "$4" != {step} ] || {{ echo "ERROR: service.FAILURE (system failure: x)" >&2; exit 2; }}')
    done = site.run("register", site.milter, classes=True)
    assert (done.returncode, "system failure: x" in done.stderr) == (3, True)
    assert site.of_server() == ([], [], [])
    assert (CLASS in site.values(CONFIG_DN, EXTRA[0])) is done_already
    site.home.before("")
    assert site.run("register", site.milter, classes=True).returncode == 0


def test_mailbox_servers_that_cannot_be_told_are_named(site: Site) -> None:
    site.home.before('[ "$2" != fc ] || { echo "ERROR: service.INVALID_REQUEST (x)" >&2; exit 2; }')
    done = site.run("register", site.milter, classes=True)
    assert (done.returncode, "zmprov fc -a config, on a mailbox server" in done.stdout) == (0, True)


def test_a_server_that_is_no_mta_any_more_is_still_unregistered(site: Site) -> None:
    site.set(SERVER_DN, **{SMTPD: site.milter, "zimbraServiceEnabled": "mailbox"})
    done = site.run("unregister", site.milter)
    site.set(SERVER_DN, zimbraServiceEnabled="mta")
    assert (done.returncode, site.of_server()[0]) == (0, [])


def test_zmprov_is_slow(site: Site) -> None:
    site.home.before('[ "$4" != ms ] || exec sleep 120')
    done = site.run("register", site.milter, "--zmprov-timeout", "12")
    assert (done.returncode, "did not answer within 12 s" in done.stderr) == (3, True)
    assert "Run this again" in done.stderr
    site.home.before("")
    assert site.run("register", site.milter).returncode == 0


@pytest.mark.parametrize("step", ["mcf", "ms"])
def test_killed_half_way_it_goes_on_when_run_again(site: Site, step: str) -> None:
    # The script is the parent of timeout, which is the parent of zmprov; its end is waited for.
    kill = "$(ps -o ppid= -p $1)"
    site.home.before(f'[ "$4" != {step} ] || {{ kill -{signal.SIGKILL.value} {kill}; exit 2; }}')
    done = site.run("register", site.milter, classes=True)
    assert done.returncode == -signal.SIGKILL
    assert site.of_server() == ([], [], [])
    site.home.before("")
    assert site.run("register", site.milter, classes=True).returncode == 0
    assert site.of_server() == ([site.milter], [site.milter], [])


def test_killed_after_the_write(site: Site) -> None:
    kill = "$(ps -o ppid= -p $1)"
    reread = f'grep -c " gs " {site.home.directory}/zmprov.calls'
    site.home.before(f'[ "$({reread})" -lt 2 ] || {{ kill -{signal.SIGKILL.value} {kill}; exit 2; }}')
    assert site.run("register", site.milter).returncode == -signal.SIGKILL
    assert site.of_server()[0] == [site.milter]
    site.home.before("")
    done = site.run("register", site.milter)
    assert (done.returncode, "nothing to change" in done.stdout) == (0, True)


def test_somebody_elses_change_in_between_is_noticed(site: Site) -> None:
    # Whoever writes between our write and our look wins; we say so instead of "registered".
    zmprov = f"{site.home.directory}/bin/zmprov"
    script = (
        f'case "$4 $(grep -c " gs " {site.home.directory}/zmprov.calls)" in\n'
        f'"gs 2") rm {site.home.directory}/before; {zmprov} ms {HOST} {SMTPD} unix:/rival ;;\nesac'
    )
    site.home.before(script)
    done = site.run("register", site.milter)
    assert (done.returncode, "unix:/rival" in done.stderr) == (1, True)


def test_as_the_wrong_user(site: Site) -> None:
    config = site.home.directory / "conf" / "localconfig.xml"
    shutil.chown(config, "nobody")
    try:
        done = site.run("register", site.milter)
    finally:
        shutil.chown(config, "root")
    assert (done.returncode, "su - nobody -c" in done.stderr) == (2, True)
    assert site.home.calls() == []


def test_without_zmprov(tmp_path: Path) -> None:
    command = [str(SCRIPTS / "register"), "--zimbra-home", str(tmp_path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=HANG)
    assert (done.returncode, "there is no zmprov" in done.stderr) == (2, True)


def test_without_its_other_half(tmp_path: Path) -> None:
    shutil.copy(SCRIPTS / "register", tmp_path / "register")
    done = subprocess.run([tmp_path / "register"], check=False, capture_output=True, text=True, timeout=HANG)
    assert (done.returncode, "registration.bash has to lie beside it" in done.stderr) == (2, True)


def test_the_schema_is_missing() -> None:
    data = merge([*base_records(), *global_config(zimbraMilterServerEnabled=True), *server(HOST, ["mta"])])
    with (
        Slapd(data, with_schema=False) as slapd,
        ZimbraHome(slapd) as home,
        socket.create_server(("127.0.0.1", 0)) as own,
    ):
        milter = f"inet:127.0.0.1:{own.getsockname()[1]}"
        command = [str(SCRIPTS / "register"), milter, "--zimbra-home", str(home.directory)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=HANG)
        assert (done.returncode, "load schema/ldapmilter.ldif" in done.stderr) == (3, True)
        assert not any(" ms " in call for call in home.calls())


@pytest.mark.parametrize(
    ("smtpd", "non_smtpd"),
    [("unix:/a", "{ours}"), ("unix:/a, {ours}", ""), ("{ours}, unix:/a", "{ours}"), ("{ours}", "{ours}")],
    ids=["not in one", "not in the other", "other order", "somebody else gone"],
)
def test_postfix_is_not_what_the_directory_says(site: Site, smtpd: str, non_smtpd: str) -> None:
    site.set(SERVER_DN, **{SMTPD: "unix:/a"})
    postconf = site.home.directory / "common" / "sbin" / "postconf"
    true_one = postconf.read_text(encoding="utf-8")
    values = [
        f"{name} = {value.format(ours=site.milter)}" for name, value in zip(POSTFIX, (smtpd, non_smtpd), strict=True)
    ]
    (site.home.directory / "main.cf").write_text("\n".join([*values, ""]), encoding="utf-8")
    postconf.write_text(f'#!/bin/sh\nexec /usr/sbin/postconf -c {site.home.directory} "$@"\n', encoding="utf-8")
    try:
        done = site.run("register", site.milter, wait=0)
    finally:
        postconf.write_text(true_one, encoding="utf-8")
    assert (done.returncode, f"smtpd_milters is '{smtpd.format(ours=site.milter)}'" in done.stderr) == (1, True)
    assert "running this again is safe" in done.stderr
    assert site.of_server()[0] == [f"unix:/a, {site.milter}"]


def test_zimbras_own_milter_does_not_answer(site: Site) -> None:
    port = free_port()
    site.set(CONFIG_DN, zimbraMilterBindPort=str(port))

    def is_named() -> bool:
        done = site.run("register", site.milter, wait=3)
        assert done.returncode == 1
        return f"inet:127.0.0.1:{port} (Zimbra's own milter)" in done.stderr

    wait_until(is_named, "the milter to be named")  # at once, unless zmconfigd is late


def test_on_carbonio(servers: Site) -> None:
    servers.reset()
    with ZimbraHome(servers.slapd, servers.postfix, carbonio=True) as home:
        command = [str(SCRIPTS / "register"), servers.milter, "--zimbra-home", str(home.directory), "--wait", "20"]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=HANG)
        assert (done.returncode, done.stderr) == (0, "")
        assert f"  carbonio prov ms {HOST} {SMTPD} {servers.milter}" in done.stdout
    assert servers.of_server()[0] == [servers.milter]


def test_zmconfigd_of_the_tests_blanks_what_the_switch_does_not_allow(site: Site) -> None:
    site.set(SERVER_DN, **{SMTPD: site.milter, NON_SMTPD: site.milter, SWITCH: "FALSE"})
    site.postfix.set_parameters(smtpd_milters="unix:/by-hand")

    def told() -> list[str]:
        config = str(site.postfix.config_directory)
        command = ["/usr/sbin/postconf", "-c", config, "-h", "smtpd_milters", "non_smtpd_milters"]
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=HANG)
        return done.stdout.splitlines()[:2]

    wait_until(lambda: told() == ["", site.milter], "zmconfigd")
