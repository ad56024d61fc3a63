"""scripts/register --relay and scripts/unregister --relay: on a Zimbra of the tests, and on a plain Postfix."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from ldapmilter.postfix.transport import ask_postfix
from ldapmilter.socket_address import parse_socket
from tests.e2e.test_register import CONFIG_DN, HOST, SERVER_DN, Site
from tests.support.builders import domain, global_config, server
from tests.support.ports import HANG, wait_until
from tests.support.postfix import Postfix
from tests.support.record import merge
from tests.support.slapd import Slapd
from tests.support.zimbra_base import base_records
from tests.support.zimbra_home import ZimbraHome

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPTS: Final = Path(__file__).resolve().parents[2] / "scripts"
RELAY: Final = "inet:127.0.0.1:10024"
DOMAINS: Final = ("copies.invalid", "other.invalid")
MAPS: Final = "zimbraMtaTransportMaps"


def state(postfix: Postfix, relay: str = RELAY, domain: str = "copies.invalid") -> str:
    """Return what the daemon would say of the route."""
    return ask_postfix(domain, parse_socket(relay), postfix.config_directory).state


def transport_maps(postfix: Postfix) -> str:
    command = ["/usr/sbin/postconf", "-c", str(postfix.config_directory), "-h", "transport_maps"]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=HANG).stdout.strip()


@pytest.fixture(scope="module")
def zimbra() -> Iterator[Site]:
    records = merge([*base_records(), *global_config(), *server(HOST, ["mta"]), *domain("example.test")])
    with Slapd(records) as slapd, Postfix() as postfix, ZimbraHome(slapd, postfix) as home, home.zmconfigd():
        site = Site(slapd, postfix, home)
        yield site
        site.close()


@pytest.fixture
def others(zimbra: Site) -> str:
    """Return somebody else's table, which the global config names."""
    file = zimbra.home.directory / "conf" / "others"
    file.write_text("elsewhere.test smtp:[127.0.0.1]:9\n", encoding="ascii")
    zimbra.set(CONFIG_DN, **{MAPS: f"texthash:{file}"})
    zimbra.set(SERVER_DN, **{MAPS: ""})
    return f"texthash:{file}"


def of_zimbra(site: Site, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(SCRIPTS / script), *arguments, "--zimbra-home", str(site.home.directory), "--wait", "60"]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=HANG)


def test_zimbra_routes_copies_and_keeps_everybody_elses_tables(zimbra: Site, others: str) -> None:
    conf = zimbra.home.directory / "conf"
    ours = f"texthash:{conf}/ldapmilter-relay"
    dry = of_zimbra(zimbra, "register", "--relay", RELAY, "--dry-run")
    assert (dry.returncode, dry.stderr) == (0, "")
    assert f"write {conf}/ldapmilter-relay: copies.invalid lmtp:{RELAY}" in dry.stdout
    assert f"'{ours} {others} {ours}-missing'" in dry.stdout
    assert not (conf / "ldapmilter-relay").exists()
    assert zimbra.values(SERVER_DN, MAPS) == []

    done = of_zimbra(zimbra, "register", "--relay", RELAY)
    assert (done.returncode, done.stderr) == (0, "")
    assert zimbra.values(SERVER_DN, MAPS) == [f"{ours} {others} {ours}-missing"]
    assert transport_maps(zimbra.postfix) == f"{ours}, {others}, {ours}-missing"
    assert state(zimbra.postfix) == "routed"
    assert "gets a value of its own" in done.stdout

    again = of_zimbra(zimbra, "register", "--relay", RELAY)
    assert (again.returncode, again.stdout.splitlines()[0]) == (
        0,
        f"copies.invalid is routed to {RELAY}: nothing to change",
    )
    (conf / "ldapmilter-relay").write_text("", encoding="ascii")
    assert state(zimbra.postfix) == "not routed"
    assert of_zimbra(zimbra, "register", "--relay", RELAY).returncode == 0
    assert state(zimbra.postfix) == "routed"

    # A queue that cannot be asked may hold copies, which would bounce to nobody: the route stays.
    with zimbra.home.without("postqueue"):
        for arguments in (["--dry-run"], []):
            held = of_zimbra(zimbra, "unregister", "--relay", *arguments)
            assert (held.returncode, "in Postfix's queue cannot be asked" in held.stderr) == (1, True), held.stderr
    assert state(zimbra.postfix) == "routed"

    gone = of_zimbra(zimbra, "unregister", "--relay")
    assert (gone.returncode, gone.stderr) == (0, "")
    assert zimbra.values(SERVER_DN, MAPS) == []
    assert transport_maps(zimbra.postfix) == others
    assert not list(conf.glob("ldapmilter-relay*"))
    assert of_zimbra(zimbra, "unregister", "--relay").stdout.startswith("the copy relay is not routed: nothing")


def test_a_domain_that_zimbra_hosts_is_never_routed_to_the_relay(zimbra: Site, others: str) -> None:
    done = of_zimbra(zimbra, "register", "--relay", RELAY, "--relay-domain", "example.test", "--dry-run")
    assert (done.returncode, "Zimbra hosts example.test" in done.stderr) == (1, True), done.stderr
    assert transport_maps(zimbra.postfix) == others


def of_postfix(postfix: Postfix, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(SCRIPTS / script), *arguments, "--postfix-dir", str(postfix.config_directory)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=HANG)


def test_a_plain_postfix_routes_copies_and_keeps_them_without_the_relay() -> None:
    with Postfix(main_cf={"transport_maps": "inline:{ { elsewhere.test = smtp:[127.0.0.1]:9 } }"}) as postfix:
        before = transport_maps(postfix)
        dry = of_postfix(postfix, "register", "--relay", RELAY, "--dry-run")
        assert (dry.returncode, transport_maps(postfix)) == (0, before)
        assert "postconf -c" in dry.stdout
        assert f"nothing answers at {RELAY}: copies wait in Postfix's queue" in dry.stdout
        hosted = of_postfix(postfix, "register", "--relay", RELAY, "--relay-domain", "example.test")
        assert (hosted.returncode, "virtual_mailbox_domains names example.test" in hosted.stderr) == (1, True)
        done = of_postfix(postfix, "register", "--relay", RELAY)
        assert (done.returncode, done.stderr) == (0, "")
        ours = f"texthash:{postfix.config_directory}/ldapmilter-relay"
        assert transport_maps(postfix) == f"{ours} {before} {ours}-missing"
        assert state(postfix) == "routed"
        assert state(postfix, "inet:127.0.0.1:10099") == "not routed"

        # Under another domain: copies that set out under the one before come to the relay still.
        other = of_postfix(postfix, "register", "--relay", RELAY, "--relay-domain", "other.invalid")
        assert (other.returncode, other.stderr) == (0, "")
        assert other.stdout.endswith("and, for copies that are under way: copies.invalid\n")
        assert {state(postfix, domain=domain) for domain in DOMAINS} == {"routed"}
        kept = {ask_postfix(domain, parse_socket(RELAY), postfix.config_directory).kept for domain in DOMAINS}
        assert kept == {True}
        assert of_postfix(postfix, "register", "--relay", RELAY).returncode == 0

        # Whoever takes the first table out loses no copy: Postfix keeps it.
        postfix.reconfigure(transport_maps=f"{before} {ours}-missing")
        assert state(postfix) == "not routed"
        postfix.sendmail("ann@example.test", [f"{48 * '0'}@copies.invalid"], b"Subject: x\n\nx\n")
        assert "copy relay not routed" in postfix.said("status=deferred")[0]
        wait_until(lambda: any(_files(postfix, "deferred")), "the copy to lie among the deferred")
        (postfix.config_directory / "ldapmilter-relay-missing").rename(postfix.directory / "elsewhere")
        held = of_postfix(postfix, "unregister", "--relay")
        assert (held.returncode, "1 copy for the relay is" in held.stderr) == (1, True), held.stderr
        (postfix.directory / "elsewhere").rename(postfix.config_directory / "ldapmilter-relay-missing")
        held = of_postfix(postfix, "unregister", "--relay", "--dry-run")
        assert (held.returncode, "1 copy for the relay is in Postfix's queue" in held.stderr) == (1, True)
        assert transport_maps(postfix) == f"{before} {ours}-missing"

        subprocess.run(
            ["/usr/sbin/postsuper", "-c", str(postfix.config_directory), "-d", "ALL"],
            check=True,
            capture_output=True,
            timeout=HANG,
        )
        gone = of_postfix(postfix, "unregister", "--relay")
        assert (gone.returncode, gone.stderr) == (0, "")
        assert transport_maps(postfix) == before


def _files(postfix: Postfix, queue: str) -> Iterator[Path]:
    return (file for file in (postfix.directory / "queue" / queue).rglob("*") if file.is_file())


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--relay", "127.0.0.1:10024"], "is no place that a relay listens at"),
        (["--relay", "inet:0.0.0.0:10024"], "is where a milter listens"),
        (["--relay", RELAY, "--relay-domain", "x"], "is no domain"),
        (["--relay", RELAY, "--postfix-dir", "/nowhere"], "has no main.cf"),
        (["--relay", RELAY, "inet:127.0.0.1:8800"], "--relay goes without a milter"),
    ],
)
def test_what_is_refused(arguments: list[str], why: str) -> None:
    command = [str(SCRIPTS / "register"), "--postfix-dir", "/etc/postfix", *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=HANG)
    assert (done.returncode, why in done.stderr) == (2, True), done.stderr
