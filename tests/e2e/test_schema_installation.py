"""A bare Zimbra slapd gets schema, access rules and identity; nobody learns who is copied; and all of it goes again.

Every guarantee of hiding is also seen broken: on a server whose own rules show more than Zimbra's,
each rule is taken away in turn, and whoever looks has to find what it hid.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from ldapmilter.directory.ldap.endpoints import Endpoints
from ldapmilter.directory.ldap.exchange import Credentials, Refused
from ldapmilter.schema import access, definition, installation, verify
from ldapmilter.schema.account import new_password
from ldapmilter.schema.definition import own_attributes
from ldapmilter.schema.rights import SHOWN_TO_USERS
from ldapmilter.schema.server import apply, configuration, connect
from tests.contract.shapes import ANN_DN, shapes
from tests.support.builders import USER_PASSWORD, account, bind_identity, static_list
from tests.support.daemon import Daemon
from tests.support.identities import ADMIN_DN, ADMIN_PASSWORD, MILTER_DN, MILTER_PASSWORD, POSTFIX_DN, POSTFIX_PASSWORD
from tests.support.names import account_dn, cos_dn
from tests.support.ports import HANG
from tests.support.record import without_policy
from tests.support.slapd import Slapd
from tests.support.slapd_config import ROOT_DN, ROOT_PASSWORD

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ldapmilter.directory.ldap.connection import Connection
    from ldapmilter.schema.rights import Rights
    from tests.support.record import Record

ROOT: Final = Path(__file__).resolve().parents[2]
COPIED: Final = "copied@example.test"
VAULT: Final = "vault@example.test"
COPIED_DN: Final = account_dn(COPIED)
PLAIN_DN: Final = account_dn("plain@example.test")
ARC: Final = definition.ARC


def bare_records() -> list[Record]:
    return [record for record in without_policy(shapes()) if record.dn != MILTER_DN]


@dataclass
class Site:
    """A slapd in Zimbra's shape that has never heard of us, and the configuration beside it."""

    slapd: Slapd
    directory: Path

    def secret(self, name: str, text: str) -> Path:
        file = self.directory / name
        file.write_text(text + "\n", encoding="utf-8")
        file.chmod(0o600)
        return file

    def configure(self, more: str = "", *, password: str = MILTER_PASSWORD) -> Path:
        file = self.directory / "config.ini"
        secret = self.secret("milter.secret", password)
        text = f"[ldap]\nuri = {self.slapd.uri}\nstarttls = no\nbind_dn = {MILTER_DN}\nbind_password_file = {secret}\n"
        file.write_text(text + more, encoding="utf-8")
        return file

    def script(
        self, *arguments: str, password: str = ROOT_PASSWORD, uri: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run scripts/install-schema on the server."""
        config = self.directory / "config.ini"
        secret = self.secret("root.secret", password)
        command = [str(ROOT / "scripts" / "install-schema"), "--config", str(config)]
        command += ["--uri", uri or self.slapd.uri, "--root-password-file", str(secret), *arguments]
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=HANG)

    def install(self) -> str:
        done = self.script()
        assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
        return done.stdout

    def configuration(self) -> str:
        """Return what cn=config says about schema and access."""
        _, text = self.slapd.search(ROOT_DN, ROOT_PASSWORD, "-b", "cn=config", "(|(olcSuffix=*)(cn=*ldapmilter))")
        return text

    def root(self) -> Connection:
        return self.bound(ROOT_DN, ROOT_PASSWORD)

    def bound(self, dn: str, password: str) -> Connection:
        return connect(self.slapd.uri, Credentials(dn=dn, password=password), Endpoints(uris=(), starttls=False))

    def rights(self, root: Connection, *more: str) -> Rights:
        return installation.server_rights(configuration(root), MILTER_DN, {*own_attributes(), *more})


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with Slapd(bare_records(), with_schema=False, milter_acl=False) as slapd:
        made = Site(slapd, tmp_path)
        made.configure()
        yield made


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Return a site where all is installed and one account is copied; tests leave it as it is."""
    with Slapd(bare_records(), with_schema=False, milter_acl=False) as slapd:
        made = Site(slapd, tmp_path_factory.mktemp("installed"))
        made.configure()
        made.install()
        slapd.add([*account(COPIED, ldapMilterArchiveBcc=VAULT), *account("plain@example.test")])
        yield made


# -- install, again, remove -----------------------------------------------------------------


def test_from_a_bare_server_to_a_daemon_that_decides_and_back(site: Site) -> None:
    before = site.configuration()
    with Daemon(site.slapd) as daemon:
        # Neither schema nor rights nor identity: mail waits.
        assert daemon.cli("explain", "--auth", "ann@example.test", "--rcpt", "x@outside.test").returncode == 3
        shown = site.script("--dry-run")
        assert shown.returncode == 0
        for word in (
            "ldapMilterLegalBcc",
            "olcDatabase={2}mdb,cn=config",
            f"dn: {MILTER_DN}",
            "this would be done",
        ):
            assert word in shown.stdout
        assert "{SSHA}" not in shown.stdout
        assert site.configuration() == before

        first = site.install()
        assert first.count("\ndone ") == 3
        assert first.count("\nok ") == 5
        assert "slapd does not start" in first
        site.slapd.add(account(COPIED, ldapMilterArchiveBcc=VAULT))
        explained = daemon.cli("explain", "--auth", COPIED, "--rcpt", "x@outside.test")
        assert explained.returncode == 0, explained.stderr
        assert VAULT in explained.stdout
    after = site.configuration()

    second = site.install()
    assert "nothing to change" in second
    assert "done" not in second
    assert site.configuration() == after

    # While somebody carries policy, what hides it stays: else every user could read the class.
    partly = site.script("--remove")
    assert partly.returncode == 1
    assert COPIED_DN in partly.stdout
    assert site.slapd.search(ANN_DN, USER_PASSWORD, "-b", "", "(objectClass=ldapMilterPolicy)")[1] == ""
    assert site.slapd.search(MILTER_DN, MILTER_PASSWORD, "-b", cos_dn("default"), "-s", "base")[0] == 32

    site.slapd.delete(COPIED_DN)
    whole = site.script("--remove", "--remove-identity")
    assert whole.returncode == 0, whole.stderr
    assert "cn={6}ldapmilter,cn=schema,cn=config stays" in whole.stdout
    assert site.slapd.search(MILTER_DN, MILTER_PASSWORD, "-b", "")[0] == 49
    # Zimbra's own rules are what they were, in their order.
    rules = [line for line in site.configuration().splitlines() if line.startswith("olcAccess: ")]
    assert rules == [line for line in before.splitlines() if line.startswith("olcAccess: ")]
    assert "nothing to change" in site.script("--remove", "--remove-identity").stdout


def test_policy_is_taken_off_every_entry_that_carries_it(site: Site) -> None:
    def carriers() -> str:
        return site.slapd.search(ROOT_DN, ROOT_PASSWORD, "-b", "", "(objectClass=ldapMilterPolicy)", "1.1")[1]

    site.install()
    nothing = site.script("--remove-policy")
    assert (nothing.returncode, "no entry carries policy" in nothing.stdout) == (0, True)
    site.slapd.add(account(COPIED, ldapMilterArchiveBcc=VAULT))
    site.slapd.modify(
        f"dn: {COPIED_DN}\nchangetype: modify\nadd: ldapMilterLegalBcc;lang-en\nldapMilterLegalBcc;lang-en: {VAULT}\n"
    )
    # As a site that is registered makes every account: the class, and no value. And somebody's COS.
    for dn, value in ((ANN_DN, ""), (cos_dn("default"), f"-\nadd: ldapMilterLegalBcc\nldapMilterLegalBcc: {VAULT}\n")):
        site.slapd.modify(f"dn: {dn}\nchangetype: modify\nadd: objectClass\nobjectClass: ldapMilterPolicy\n{value}")
    before = carriers()
    assert site.script("--remove").returncode == 1
    shown = site.script("--remove-policy", "--dry-run")
    assert (shown.returncode, carriers()) == (0, before)
    for dn in (COPIED_DN, ANN_DN, cos_dn("default")):
        assert f"dn: {dn}\nchangetype: modify" in shown.stdout
    assert VAULT not in shown.stdout

    done = site.script("--remove-policy")
    assert (done.returncode, done.stderr) == (0, "")
    assert "3 entries carried policy or its class" in done.stdout
    assert f"done  {ANN_DN}: Take the class away." in done.stdout
    assert "dn: " not in carriers()
    assert site.slapd.search(ROOT_DN, ROOT_PASSWORD, "-b", COPIED_DN, "-s", "base")[1].count("zimbraId: ") == 1
    assert site.script("--remove", "--remove-identity").returncode == 0


def test_cut_off_anywhere_it_is_run_again(site: Site) -> None:
    whole = (3, 0)
    site.slapd.add(definition.text())  # it ended after the schema
    assert site.install().count("\ndone ") == 2
    site.slapd.delete(MILTER_DN)  # ... before the identity
    assert site.install().count("\ndone ") == 1
    with_rules = site.root()
    try:
        (gone,) = [rule for rule in configuration(with_rules).access if 'val="ldapMilterPolicy"' in rule]
    finally:
        with_rules.close()
    database = "dn: olcDatabase={2}mdb,cn=config\nchangetype: modify\n"
    site.slapd.modify(f"{database}delete: olcAccess\nolcAccess: {definition.without_index(gone)}\n")
    site.slapd.modify(f"{database}add: olcAccess\nolcAccess: {{0}}to attrs=objectClass by users read by * +0 break\n")
    # Somebody's rule slipped before ours shows everything: ours go before it again.
    assert site.install().count("\ndone ") == 1
    text = site.install()
    assert (text.count("\nok ") - 2, text.count("\ndone ")) == whole


def test_an_older_schema_is_extended_while_it_is_in_use(site: Site) -> None:
    text = definition.text()
    cut = text.index("olcAttributeTypes: ( ldapMilterAttributeType:10")
    older = text[:cut] + re.sub(
        r" \$\n    ldapMilter(?:AppliesToMembers|List\w+)", "", text[text.index("olcObjectClasses") :]
    )
    assert "AppliesToMembers" not in older
    site.slapd.add(older)
    site.slapd.add(account(COPIED, ldapMilterArchiveBcc=VAULT))
    assert "What this version adds" in site.install()
    assert "nothing to change" in site.install()
    site.slapd.add(static_list("new@example.test", [], ldapMilterAppliesToMembers=True, ldapMilterLegalBcc=VAULT))


def test_a_newer_schema_is_left_alone(site: Site) -> None:
    newer = f"olcAttributeTypes: ( {ARC}.1.99 NAME 'ldapMilterTomorrow' SYNTAX 1.3.6.1.4.1.1466.115.121.1.26 )\n"
    text = definition.text()
    site.slapd.add(text.replace("olcObjectClasses: ", newer + "olcObjectClasses: ", 1))
    before = site.configuration()
    done = site.script()
    assert done.returncode == 1
    assert "ldapMilterTomorrow" in done.stderr
    assert "newer" in done.stderr
    assert site.configuration() == before


def test_zimbras_own_attributes_without_any_schema_of_ours(site: Site) -> None:
    site.configure(
        "[copy archive]\nsent_attributes = amavisArchiveQuarantineTo\nreceived_attributes = amavisArchiveQuarantineTo\n"
        "[copy legal]\nsent_attributes = zimbraInterceptAddress\nreceived_attributes = zimbraInterceptAddress\n"
        "[from]\nsender_attributes =\nrecipient_attributes =\nenforce_attributes =\n"
    )
    site.slapd.add(account(COPIED, amavisArchiveQuarantineTo=VAULT))
    amavis = "uid=zmamavis,cn=appaccts,cn=zimbra"
    site.slapd.add([bind_identity(amavis, "amavis-secret")])
    text = site.install()
    assert "cn=schema" not in text
    assert "cn=ldapmilter,cn=schema" not in site.configuration()
    wanted = ("-b", COPIED_DN, "-s", "base", "amavisArchiveQuarantineTo")
    assert VAULT in site.slapd.search(MILTER_DN, MILTER_PASSWORD, *wanted)[1]
    assert VAULT in site.slapd.search(ADMIN_DN, ADMIN_PASSWORD, *wanted)[1]
    # What Zimbra gives its services stays theirs, what it does not stays hidden.
    assert VAULT in site.slapd.search(amavis, "amavis-secret", *wanted)[1]
    assert VAULT not in site.slapd.search(POSTFIX_DN, POSTFIX_PASSWORD, *wanted)[1]
    assert VAULT not in site.slapd.search(ANN_DN, USER_PASSWORD, *wanted)[1]
    assert "nothing to change" in site.install()
    assert site.script("--remove").returncode == 0
    assert "ldapmilter" not in site.configuration().lower()


# -- nobody learns who is copied ------------------------------------------------------------

OWN_CLASS: Final = f"{ARC}.2.1"
OWN_ATTRIBUTE: Final = f"{ARC}.1.1"
ATTACKS: Final = [
    "(objectClass=ldapMilterPolicy)",
    "(objectClass=LDAPMILTERPOLICY)",
    f"(objectClass={OWN_CLASS})",
    "(objectClass:=ldapMilterPolicy)",
    "(ldapMilterArchiveBcc=*)",
    f"({OWN_ATTRIBUTE}=*)",
    "(ldapMilterArchiveBcc=vault@example.test)",
    "(ldapMilterArchiveBcc=vault*)",
    "(:caseIgnoreIA5Match:=vault@example.test)",
]


def found_by(site: Site, dn: str, password: str, attack: str) -> tuple[bool, bool]:
    """Return whether a filter finds the account that is copied, and its twin that is not."""
    found = site.slapd.search(dn, password, "-b", "", f"(&(|(uid=copied)(uid=plain)){attack})", "1.1")[1]
    return f"dn: {COPIED_DN}\n" in found, f"dn: {PLAIN_DN}\n" in found


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_filter_tells_who_is_copied(installed: Site, attack: str) -> None:
    for dn, password in ((ANN_DN, USER_PASSWORD), (COPIED_DN, USER_PASSWORD), ("", "")):
        assert found_by(installed, dn, password, attack) == (False, False)
        copied, plain = found_by(installed, dn, password, f"(!{attack})")
        assert copied is plain
    # The filter is a good one: where it may be asked it tells them apart, both ways.
    assert found_by(installed, ADMIN_DN, ADMIN_PASSWORD, attack) == (True, False)
    assert found_by(installed, ADMIN_DN, ADMIN_PASSWORD, f"(!{attack})") == (False, True)


def test_nobody_reads_it_but_the_milter_and_administrators(installed: Site) -> None:
    everything = ("-b", COPIED_DN, "-s", "base", "*", "+", "@ldapMilterPolicy", OWN_ATTRIBUTE)
    for dn, password in ((ANN_DN, USER_PASSWORD), (COPIED_DN, USER_PASSWORD), (POSTFIX_DN, POSTFIX_PASSWORD), ("", "")):
        text = installed.slapd.search(dn, password, *everything)[1]
        assert "ldapmilter" not in text.lower()
        assert "vault" not in text
    for dn, password in ((MILTER_DN, MILTER_PASSWORD), (ADMIN_DN, ADMIN_PASSWORD)):
        text = installed.slapd.search(dn, password, *everything)[1]
        assert f"ldapMilterArchiveBcc: {VAULT}\n" in text
        assert "objectClass: ldapMilterPolicy\n" in text
    # What users could see before they still see.
    assert "objectClass: inetOrgPerson\n" in installed.slapd.search(ANN_DN, USER_PASSWORD, *everything)[1]


def test_the_milter_reads_what_is_opened_and_writes_nothing(installed: Site) -> None:
    text = installed.slapd.search(MILTER_DN, MILTER_PASSWORD, "-b", COPIED_DN, "-s", "base", "*", "+")[1]
    names = {line.partition(":")[0].lower() for line in text.splitlines() if line} - {"dn"}
    root = installed.root()
    try:
        assert names <= {name.lower() for name in installed.rights(root).opened} | SHOWN_TO_USERS
    finally:
        root.close()
    assert "userpassword" not in names
    milter = installed.bound(MILTER_DN, MILTER_PASSWORD)
    try:
        with pytest.raises(Refused, match=r"insufficientAccessRights"):
            apply(milter, new_password(COPIED_DN, "x", b"x"))
        with pytest.raises(Refused, match="cn=config may not be read"):
            configuration(milter)
    finally:
        milter.close()


def test_an_administrator_still_writes(installed: Site) -> None:
    head = f"dn: {COPIED_DN}\nchangetype: modify\n"
    command = ["ldapmodify", "-x", "-H", installed.slapd.uri, "-D", ADMIN_DN, "-w", ADMIN_PASSWORD]
    for change in ("add: ldapMilterLegalBcc\nldapMilterLegalBcc: a@b.test\n", "delete: ldapMilterLegalBcc\n"):
        done = subprocess.run(command, input=head + change, text=True, capture_output=True, check=False, timeout=HANG)
        assert done.returncode == 0, done.stderr


# -- what hides, seen broken ----------------------------------------------------------------


@pytest.fixture(scope="module")
def lenient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Return a site whose own rules let every user read whatever ours do not hide."""
    with Slapd(bare_records(), with_schema=False, milter_acl=False) as slapd:
        made = Site(slapd, tmp_path_factory.mktemp("lenient"))
        made.configure("[copy papers]\nsent_attributes = zimbraNotes\n")
        last = "{99}to * by anonymous read by users read"
        slapd.modify(f"dn: olcDatabase={{2}}mdb,cn=config\nchangetype: modify\nadd: olcAccess\nolcAccess: {last}\n")
        made.install()
        slapd.add(account(COPIED, ldapMilterArchiveBcc=VAULT, zimbraNotes=VAULT))
        yield made


def looks(site: Site) -> list[verify.Trial]:
    """Look as nobody, and as a mail user."""
    root = site.root()
    try:
        rights = site.rights(root, "zimbraNotes")
        samples = verify.find_samples(root, rights)
        return [verify.blind(root, who, dn, samples, rights) for who, dn in verify.outsiders(samples)]
    finally:
        root.close()


def rules_of(site: Site) -> tuple[str, ...]:
    root = site.root()
    try:
        return configuration(root).access
    finally:
        root.close()


DATABASE: Final = "dn: olcDatabase={2}mdb,cn=config\nchangetype: modify\n"
HIDES: Final = {
    "the class": (1, "objectClass"),
    "our attributes": (2, "ldapMilterArchiveBcc"),
    "attributes of others": (3, "zimbraNotes"),
}


def test_even_there_nothing_is_seen(lenient: Site) -> None:
    assert [finding.problem for finding in looks(lenient)] == [None, None]


@pytest.mark.parametrize("what", HIDES)
def test_without_the_rule_a_mail_user_sees_it(lenient: Site, what: str) -> None:
    place, attribute = HIDES[what]
    rule = rules_of(lenient)[place]
    assert access.is_ours(rule)
    lenient.slapd.modify(f"{DATABASE}delete: olcAccess\nolcAccess: {rule}\n")
    try:
        nobody, user = looks(lenient)
        assert user.problem is not None
        assert attribute in user.problem
        # Zimbra itself hides every class from whoever has not logged in.
        assert (nobody.problem is None) is (what == "the class")
    finally:
        lenient.slapd.modify(f"{DATABASE}add: olcAccess\nolcAccess: {rule}\n")
    assert [finding.problem for finding in looks(lenient)] == [None, None]


def test_behind_zimbras_rules_they_hide_nothing(lenient: Site) -> None:
    rule = rules_of(lenient)[1]
    text = definition.without_index(rule)
    lenient.slapd.modify(
        f"{DATABASE}delete: olcAccess\nolcAccess: {text}\n-\nadd: olcAccess\nolcAccess: {{99}}{text}\n"
    )
    _, user = looks(lenient)
    assert user.problem is not None
    assert "objectClass" in user.problem
    # The installer puts it where it belongs.
    assert "\ndone " in lenient.install()
    assert [finding.problem for finding in looks(lenient)] == [None, None]


def test_only_what_can_be_searched_is_told_by_a_filter(lenient: Site) -> None:
    # A right of every mail user to search, without one to read or compare: only filters tell.
    probe = 'to attrs=ldapMilterArchiveBcc by dn.subtree="dc=test" =s by * +0 break'
    lenient.slapd.modify(f"{DATABASE}add: olcAccess\nolcAccess: {{0}}{probe}\n")
    try:
        _, user = looks(lenient)
        assert user.problem is not None
        assert "finds" in user.problem
        assert "compare" not in user.problem
    finally:
        lenient.slapd.modify(f"{DATABASE}delete: olcAccess\nolcAccess: {probe}\n")


# -- the settings of lists are no secret ----------------------------------------------------

STAFF_DN: Final = account_dn("staff@example.test")
SETTINGS: Final = {
    "ldapMilterListFrom": "foreign",
    "ldapMilterListReplyTo": "author",
    "ldapMilterListHeaders": "TRUE",
    "ldapMilterListHeaderField": "List-Help: <https://example.test/help>",
    "ldapMilterListTag": "[staff]",
    "ldapMilterListBounces": "returns@example.test",
}


def names_seen(site: Site, dn: str, password: str) -> set[str]:
    """Return the attributes of the list that somebody sees."""
    text = site.slapd.search(dn, password, "-b", STAFF_DN, "-s", "base", "*")[1]
    return {line.partition(":")[0] for line in text.splitlines() if line} - {"dn"}


def written_by(site: Site, dn: str, password: str, change: str) -> int:
    """Return what ldapmodify ends with."""
    command = ["ldapmodify", "-x", "-H", site.slapd.uri, "-D", dn, "-w", password]
    text = f"dn: {STAFF_DN}\nchangetype: modify\n{change}"
    return subprocess.run(command, input=text, text=True, capture_output=True, check=False, timeout=HANG).returncode


def test_what_a_list_does_with_its_posts_is_seen_by_whom_zimbra_shows_its_attributes(lenient: Site) -> None:
    lenient.slapd.add(static_list("staff@example.test", [COPIED], ldapMilterLegalBcc=VAULT, **SETTINGS))
    for dn, password in ((ANN_DN, USER_PASSWORD), (MILTER_DN, MILTER_PASSWORD), (ADMIN_DN, ADMIN_PASSWORD)):
        seen = names_seen(lenient, dn, password)
        assert seen >= set(SETTINGS)
        assert ("ldapMilterLegalBcc" in seen) is (dn != ANN_DN)
    # Who may not write other attributes of the list may not write these.
    for name, value in SETTINGS.items():
        change = f"replace: {name}\n{name}: {value}\n"
        assert written_by(lenient, ANN_DN, USER_PASSWORD, change) == 50
        assert written_by(lenient, MILTER_DN, MILTER_PASSWORD, change) == 50
    lenient.slapd.delete(STAFF_DN)


def test_what_a_list_does_with_its_posts_is_as_other_attributes_of_lists(installed: Site) -> None:
    installed.slapd.add(static_list("staff@example.test", [COPIED], zimbraNotes="a note", **SETTINGS))
    seen = names_seen(installed, ANN_DN, USER_PASSWORD)
    assert {name in seen for name in SETTINGS} == {"zimbraNotes" in seen}
    assert names_seen(installed, MILTER_DN, MILTER_PASSWORD) >= set(SETTINGS)
    assert names_seen(installed, "", "") & set(SETTINGS) == names_seen(installed, "", "") & {"zimbraNotes"}
    change = "replace: ldapMilterListTag\nldapMilterListTag: [x]\n"
    assert written_by(installed, ANN_DN, USER_PASSWORD, change) == 50
    assert written_by(installed, ADMIN_DN, ADMIN_PASSWORD, change) == 0
    installed.slapd.delete(STAFF_DN)


def test_what_an_administrator_no_longer_sees_is_found(installed: Site) -> None:
    probe = f'to attrs=ldapMilterLegalBcc by dn.exact="{ADMIN_DN}" none by * +0 break'
    root = installed.root()
    try:
        rights = installed.rights(root)
        samples = verify.find_samples(root, rights)
        assert verify.administers(root, samples, rights).problem is None
        installed.slapd.modify(f"{DATABASE}add: olcAccess\nolcAccess: {{0}}{probe}\n")
        try:
            assert "ldapMilterLegalBcc" in (verify.administers(root, samples, rights).problem or "")
        finally:
            installed.slapd.modify(f"{DATABASE}delete: olcAccess\nolcAccess: {probe}\n")
    finally:
        root.close()


def test_what_the_milter_may_not_read_is_found(installed: Site) -> None:
    probe = f'to attrs=zimbraACE by dn.exact="{MILTER_DN}" none by * +0 break'
    installed.slapd.modify(f"{DATABASE}add: olcAccess\nolcAccess: {{0}}{probe}\n")
    root = installed.root()
    milter = installed.bound(MILTER_DN, MILTER_PASSWORD)
    try:
        rights = installed.rights(root)
        found = verify.reads(milter, verify.find_samples(root, rights), rights)
        assert found.problem is not None
        assert "zimbraACE" in found.problem
    finally:
        milter.close()
        root.close()
        installed.slapd.modify(f"{DATABASE}delete: olcAccess\nolcAccess: {probe}\n")


def test_removal_says_what_is_shown_again(installed: Site) -> None:
    installed.configure("[copy papers]\nsent_attributes = title\n")
    try:
        done = installed.script("--remove", "--dry-run")
        assert done.returncode == 0
        assert "title is readable by every mail user again" in done.stdout
    finally:
        installed.configure()


# -- on the server itself, and on others -----------------------------------------------------


def test_on_the_server_itself_zimbras_configuration_has_the_password(installed: Site) -> None:
    file = installed.directory / "localconfig.xml"
    text = f'<localconfig><key name="ldap_root_password"><value>{ROOT_PASSWORD}</value></key></localconfig>'
    file.write_text(text, encoding="utf-8")
    command = [str(ROOT / "scripts" / "install-schema"), f"--config={installed.directory / 'config.ini'}"]
    command += ["--uri", installed.slapd.ldapi_uri, "--localconfig", str(file)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=HANG)
    assert (done.returncode, done.stderr) == (0, "")
    assert "nothing to change" in done.stdout
    assert done.stdout.count("\nok ") == 5


def test_a_replica_names_the_master(site: Site) -> None:
    site.slapd.modify(
        f"{DATABASE}add: olcSyncrepl\nolcSyncrepl: rid=1 provider=ldap://127.0.0.1:1 type=refreshOnly"
        ' interval=01:00:00:00 retry="3600 +" searchbase="" bindmethod=simple\n-\n'
        "add: olcUpdateRef\nolcUpdateRef: ldap://master.example.test\n"
    )
    done = site.script()
    assert done.returncode == 1
    assert "run this on the master first" in done.stderr
    # Schema and rules are the replica's own business, and are there.
    assert done.stdout.count("\ndone ") == 2
    assert "ldapmilter-hides" in site.configuration()


# -- wrong inputs ---------------------------------------------------------------------------


def test_the_wrong_password(site: Site) -> None:
    done = site.script(password="wrong")
    assert (done.returncode, done.stdout) == (1, "")
    assert "bind as cn=config refused: wrong password" in done.stderr


def test_an_identity_without_access_to_cn_config(installed: Site) -> None:
    done = installed.script("--root-dn", ADMIN_DN, password=ADMIN_PASSWORD)
    assert done.returncode == 1
    assert "ldap_root_password" in done.stderr


def test_nobody_there(installed: Site) -> None:
    done = installed.script(uri="ldap://127.0.0.1:1")
    assert done.returncode == 3
    assert "127.0.0.1:1" in done.stderr


def test_an_identity_with_another_password(installed: Site) -> None:
    try:
        installed.configure(password="new-secret")
        done = installed.script()
        assert done.returncode == 1
        assert "--reset-password" in done.stderr
        assert installed.slapd.search(MILTER_DN, MILTER_PASSWORD, "-b", "", "-s", "base")[0] == 0
        done = installed.script("--reset-password")
        assert done.returncode == 0, done.stderr
        assert "new-secret" not in done.stdout
        assert installed.slapd.search(MILTER_DN, "new-secret", "-b", "", "-s", "base")[0] == 0
    finally:
        installed.configure()
        assert installed.script("--reset-password").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--milter-dn", ADMIN_DN], "Zimbra's own"),
        (["--remove-identity"], "--remove"),
        (["--remove-policy", "--remove"], "--remove-policy goes by itself"),
        (["--cn-config", "x"], "--cn-config"),
        (["--no-such-option"], "no-such-option"),
    ],
)
def test_usage(installed: Site, arguments: list[str], word: str) -> None:
    done = installed.script(*arguments)
    assert done.returncode == 2
    assert word in done.stderr


# -- the texts ------------------------------------------------------------------------------


def test_the_texts_fed_to_ldapmodify_do_what_the_installer_does(site: Site) -> None:
    with Daemon(site.slapd) as daemon:
        site.slapd.add(daemon.cli("schema", "--ldif").stdout)
        export = subprocess.run(
            ["slapcat", "-F", str(site.slapd.directory / "config"), "-n0"], check=True, capture_output=True, text=True
        )
        file = site.directory / "cn-config.ldif"
        file.write_text(export.stdout, encoding="utf-8")
        rules = daemon.cli("schema", "--acl", "--cn-config", str(file)).stdout
        assert "slapd does not start" in rules
        site.slapd.modify(rules)
        site.slapd.modify(daemon.cli("schema", "--bind-account").stdout)
        assert "nothing to change" in site.install()
        export = subprocess.run(
            ["slapcat", "-F", str(site.slapd.directory / "config"), "-n0"], check=True, capture_output=True, text=True
        )
        file.write_text(export.stdout, encoding="utf-8")
        site.slapd.modify(daemon.cli("schema", "--acl", "--remove", "--cn-config", str(file)).stdout)
        site.slapd.modify(daemon.cli("schema", "--bind-account", "--remove").stdout)
    assert "olcAccess" in site.configuration()
    assert "ldapmilter-" not in site.configuration()


def test_slapd_does_not_start_without_the_schema_that_rules_name(site: Site) -> None:
    site.install()
    site.slapd.stop()
    (file,) = (site.slapd.directory / "config").rglob("*ldapmilter.ldif")
    text = file.read_text(encoding="utf-8")
    file.unlink()
    with pytest.raises(RuntimeError, match="slapd ended"):
        site.slapd.start()
    file.write_text(text, encoding="utf-8")
    site.slapd.start()
    # Rules first, then the file: it starts.
    assert site.script("--remove").returncode == 0
    site.slapd.stop()
    file.unlink()
    site.slapd.start()
    assert "ldapmilter" not in site.configuration().lower()
