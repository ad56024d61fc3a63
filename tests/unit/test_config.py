"""config.ini: its defaults, and an error that helps for everything that cannot be used."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ldapmilter.config import Config, bind_password, load
from ldapmilter.config_options import SECTIONS
from ldapmilter.errors import ConfigError
from ldapmilter.secret_file import read_secret
from ldapmilter.socket_address import parse_socket

MINIMAL = "[ldap]\nuri = ldap://ldap.example.test\n"

# Section 9 of the design, as text.
DESIGN = """
[milter]
socket = unix:/run/ldapmilter/milter.sock
socket_mode = 0660
socket_group = postfix
workers = auto
enable_original_recipient = auto
[ldap]
starttls = yes
ca_file =
zimbra_localconfig =
search_base =
connect_timeout = 3
lookup_deadline = 10
connections_per_worker = 4
follow_changes = auto
[cache]
ttl = 300
negative_ttl = 60
stale_ttl = 86400
max_entries = 100000
[identity]
mailbox_hosts = auto
trust_x_authenticated_user = no
unknown_login = tempfail
reinjection_ports = 10025 10028 10029 10030
own_relays =
service_logins =
[groups]
max_members = 50000
max_depth = 20
[policy]
mode = apply
directory_failure = tempfail
max_copies = 10000
[copy archive]
sent_attributes = ldapMilterArchiveBcc ldapMilterArchiveSentBcc
received_attributes = ldapMilterArchiveBcc ldapMilterArchiveReceivedBcc
inherit = override
invalid_value = ignore
confidential = no
delivery = direct
[copy legal]
sent_attributes = ldapMilterLegalBcc ldapMilterLegalSentBcc
received_attributes = ldapMilterLegalBcc ldapMilterLegalReceivedBcc
inherit = union
invalid_value = tempfail
confidential = yes
delivery = direct
[from]
sender_attributes = ldapMilterSenderFromRewrite
recipient_attributes = ldapMilterRecipientFromRewrite
enforce_attributes = ldapMilterFromEnforce
match_members = yes
invalid_value = ignore
reply_to = keep
original_from_header =
sender = keep
reject_text =
[lists]
from_attributes = ldapMilterListFrom
reply_to_attributes = ldapMilterListReplyTo
headers_attributes = ldapMilterListHeaders
header_field_attributes = ldapMilterListHeaderField
tag_attributes = ldapMilterListTag
bounces_attributes = ldapMilterListBounces
inherit = override
[relay]
listen =
socket_mode = 0660
socket_group = postfix
postfix_dir =
domain = copies.invalid
key_file = /var/lib/ldapmilter/relay.key
next_hop =
next_hop_for =
starttls = may
ca_file =
envelope_sender = <>
report_from =
state = /var/lib/ldapmilter/copies.sqlite
kept = /var/lib/ldapmilter/kept
keep_after = 172800
late_after = 900
[check]
accept =
[coverage]
history =
[control]
socket = /run/ldapmilter/control.sock
trace_messages = 1000
[audit]
file = /var/log/ldapmilter/audit.jsonl
[metrics]
listen =
confidential = no
"""


def _table(text: str) -> dict[tuple[str, str], str]:
    found: dict[tuple[str, str], str] = {}
    section = ""
    for line in text.split("\n"):
        if line.startswith("["):
            section = line.strip("[]")
        elif line:
            name, _, value = line.partition("=")
            found[section, name.strip()] = value.strip()
    return found


DEFAULTS = _table(DESIGN)
# What the table leaves to a site, or says in prose: the modes that follow [policy] mode.
NO_DEFAULT_IN_TABLE = {
    ("ldap", "uri"),
    ("ldap", "bind_dn"),
    ("ldap", "bind_password_file"),
    ("copy archive", "mode"),
    ("copy legal", "mode"),
    ("from", "mode"),
    ("lists", "mode"),
}


class Site:
    """A folder with a config.ini and a secret."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "config.ini"

    def load(self, text: str) -> Config:
        self.file.write_text(text, encoding="utf-8")
        return load(self.file)

    def error(self, text: str | bytes) -> str:
        """Return the text of the error, which names the file."""
        if isinstance(text, bytes):
            self.file.write_bytes(text)
        else:
            self.file.write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError) as caught:
            bind_password(load(self.file))
        assert str(self.file) in str(caught.value)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    def secret(self, content: str | bytes = "s3cret\n", mode: int = 0o600, name: str = "secret") -> Path:
        file = self.folder / name
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        file.chmod(mode)
        return file

    def bound(self, secret: Path | str) -> str:
        return f"{MINIMAL}bind_dn = uid=milter\nbind_password_file = {secret}\n"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Return an empty folder to put a configuration in."""
    return Site(tmp_path)


# -- defaults -------------------------------------------------------------------------------


def test_only_the_uri_has_to_be_given(site: Site) -> None:
    assert site.load(MINIMAL).ldap.uris == ("ldap://ldap.example.test",)


def test_every_option_is_in_the_design() -> None:
    known = {(section, name) for section, table in SECTIONS.items() for name in table}
    assert known <= set(DEFAULTS) | NO_DEFAULT_IN_TABLE


@pytest.mark.parametrize(
    ("section", "name"), [(section, name) for section, table in SECTIONS.items() for name in table]
)
def test_the_default_is_that_of_the_design(section: str, name: str) -> None:
    option = SECTIONS[section][name]
    if (section, name) in NO_DEFAULT_IN_TABLE:
        assert not option.default
    else:
        assert option.default is not None
        assert option.read(option.default) == option.read(DEFAULTS[section, name])


def test_defaults_as_values(site: Site) -> None:
    config = site.load(MINIMAL)
    milter, ldap, cache, policy = config.milter, config.ldap, config.cache, config.policy
    assert milter.socket == parse_socket("unix:/run/ldapmilter/milter.sock")
    assert (milter.socket_mode, milter.socket_group) == (0o660, "postfix")
    assert (ldap.bind_dn, ldap.bind_password_file, ldap.starttls, ldap.ca_file) == ("", None, True, None)
    assert (ldap.search_base, ldap.connect_timeout, ldap.lookup_deadline) == ("", 3, 10)
    assert ldap.connections_per_worker == 4
    assert (cache.ttl, cache.negative_ttl, cache.stale_ttl, cache.max_entries) == (300, 60, 86400, 100_000)
    assert (config.groups.max_members, config.groups.max_depth) == (50_000, 20)
    assert (policy.mode, policy.directory_failure, policy.max_copies) == ("apply", "tempfail", 10_000)
    assert (policy.identity.mailbox_hosts, policy.identity.unknown_login) == ("auto", "tempfail")


def test_the_two_copy_classes_exist(site: Site) -> None:
    archive, legal = site.load(MINIMAL).policy.copy_classes
    assert (archive.name, archive.inherit, archive.invalid_value, archive.mode) == (
        "archive",
        "override",
        "ignore",
        "apply",
    )
    assert archive.sent_attributes == ("ldapMilterArchiveBcc", "ldapMilterArchiveSentBcc")
    assert archive.received_attributes == ("ldapMilterArchiveBcc", "ldapMilterArchiveReceivedBcc")
    assert (legal.name, legal.inherit, legal.invalid_value, legal.mode) == ("legal", "union", "tempfail", "apply")
    assert (archive.confidential, legal.confidential) == (False, True)
    assert legal.sent_attributes == ("ldapMilterLegalBcc", "ldapMilterLegalSentBcc")
    assert legal.received_attributes == ("ldapMilterLegalBcc", "ldapMilterLegalReceivedBcc")


def test_from_defaults(site: Site) -> None:
    found = site.load(MINIMAL).policy.from_policy
    assert found.sender_attributes == ("ldapMilterSenderFromRewrite",)
    assert found.recipient_attributes == ("ldapMilterRecipientFromRewrite",)
    assert (found.match_members, found.invalid_value, found.mode) == (True, "ignore", "apply")


def test_an_empty_file_has_no_uri(site: Site) -> None:
    for text in ("", "\n", "; nothing\n", "[ldap]\n", "[ldap]\nuri =\n"):
        error = site.error(text)
        assert "[ldap]" in error
        assert "uri" in error


# -- values ---------------------------------------------------------------------------------

BAD_VALUES = [
    ("milter", "socket", "8800", "inet:host:port"),
    ("milter", "socket", "unix:relative.sock", "unix:/path"),
    ("milter", "socket", "/run/milter.sock", "write unix:/run/milter.sock"),
    ("milter", "socket_mode", "rw", "octal"),
    ("milter", "socket_group", "postfix zimbra", "the name of one group"),
    ("ldap", "bind_dn", "ldapmilter", "a DN such as"),
    ("ldap", "search_base", "example.test", "a DN such as"),
    ("control", "socket", "control.sock", "absolute path"),
    ("control", "trace_messages", "many", "a whole number from 0 to 100000"),
    ("milter", "enable_original_recipient", "perhaps", "auto or yes or no"),
    ("ldap", "uri", "ldap.example.test", "ldap://"),
    ("ldap", "uri", "ldap://ldap.example.test:389x", "allowed is ldap://host:port"),
    ("ldap", "uri", "ldap://ldap.example.test:", "allowed is ldap://host:port"),
    ("ldap", "starttls", "perhaps", "yes or no"),
    ("ldap", "connect_timeout", "0", "seconds"),
    ("ldap", "connect_timeout", "fast", "seconds"),
    ("ldap", "lookup_deadline", "-1", "seconds"),
    ("ldap", "connections_per_worker", "0", "from 1"),
    ("ldap", "connections_per_worker", "many", "whole number"),
    ("ldap", "follow_changes", "yes", "auto"),
    ("cache", "ttl", "5m", "seconds"),
    ("cache", "negative_ttl", "never", "seconds"),
    ("cache", "stale_ttl", "-5", "seconds"),
    ("cache", "max_entries", "0", "whole number"),
    ("identity", "mailbox_hosts", "mail.example.test", "CIDR"),
    ("identity", "unknown_login", "reject", "tempfail or accept"),
    ("identity", "service_logins", "scanner=", "LOGIN=ADDRESS"),
    ("identity", "service_logins", "=ann@example.test", "LOGIN=ADDRESS"),
    ("identity", "service_logins", "relay=ann", "LOGIN=ADDRESS"),
    ("identity", "service_logins", "scanner, relay=a@b@c", "LOGIN=ADDRESS"),
    ("identity", "service_logins", "scanner Scanner=ann@example.test", "one meaning"),
    ("groups", "max_members", "0", "whole number"),
    ("groups", "max_depth", "deep", "whole number"),
    ("policy", "mode", "dry-run", "apply or observe or pass"),
    ("policy", "directory_failure", "ignore", "tempfail or accept"),
    ("policy", "max_copies", "1.5", "whole number"),
    ("copy archive", "sent_attributes", "a b()", "attribute"),
    ("copy archive", "received_attributes", "=", "attribute"),
    ("copy archive", "inherit", "merge", "override or union"),
    ("copy archive", "invalid_value", "accept", "tempfail or ignore"),
    ("copy archive", "confidential", "secret", "yes or no"),
    ("copy archive", "mode", "off", "apply or observe or pass"),
    ("copy archive", "delivery", "bcc", "direct or tracked or journal"),
    ("relay", "listen", "10024", "unix:/path"),
    ("relay", "listen", "127.0.0.1:10024", "inet:host:port"),
    ("relay", "socket_mode", "rw", "octal"),
    ("relay", "socket_group", "a b", "the name of one group"),
    ("relay", "domain", "localhost", "such as copies.invalid"),
    ("relay", "domain", "x@copies.invalid", "such as copies.invalid"),
    ("relay", "domain", "", "such as copies.invalid"),
    ("relay", "key_file", "", "the name of a file"),
    ("relay", "next_hop", "archive.example.test", "smtp:[HOST]:PORT"),
    ("relay", "next_hop_for", "smtp:[archive.example.test]:25", "DOMAIN HOP..."),
    ("relay", "starttls", "yes", "no or may or must"),
    ("relay", "envelope_sender", "postmaster", "<> or an address"),
    ("relay", "report_from", "a@example.test, b@example.test", "one mailbox"),
    ("relay", "report_from", "Journal", "one mailbox"),
    ("relay", "state", "", "the name of a file"),
    ("relay", "kept", "", "the name of a file"),
    ("relay", "keep_after", "2d", "number of seconds from 60 to 2592000"),
    ("relay", "late_after", "0", "number of seconds"),
    ("copy legal", "inherit", "", "override or union"),
    ("copy legal", "invalid_value", "", "tempfail or ignore"),
    ("copy journal", "inherit", "both", "override or union"),
    ("from", "sender_attributes", "Sender: x", "attribute"),
    ("from", "recipient_attributes", "*", "attribute"),
    ("from", "match_members", "sometimes", "yes or no"),
    ("from", "invalid_value", "drop", "tempfail or ignore"),
    ("from", "mode", "on", "apply or observe or pass"),
    ("from", "sender", "nobody", "keep or author"),
    ("lists", "from_attributes", "From: x", "attribute"),
    ("lists", "reply_to_attributes", "*", "attribute"),
    ("lists", "headers_attributes", "*", "attribute"),
    ("lists", "header_field_attributes", "*", "attribute"),
    ("lists", "tag_attributes", "[x]", "attribute"),
    ("lists", "bounces_attributes", "a@example.com", "attribute"),
    ("lists", "inherit", "none", "override or union"),
    ("lists", "mode", "on", "apply or observe or pass"),
    ("check", "accept", "identity-any-from:", "CODE:SUBJECT"),
    ("check", "accept", "Any From", "CODE:SUBJECT"),
    ("from", "reject_text", "550 5.7.1 No", "without the reply code"),
    ("from", "reject_text", "Ask {user}", "{from}"),
    ("from", "reject_text", "Bitte {address} verw\u00e4nden", "ASCII"),
    ("from", "reject_text", "a" * 501, "at most 500"),
    ("from", "reject_text", "{address}" + "a" * 401, "100 counted"),
]


def with_option(section: str, name: str, value: str) -> str:
    if section == "ldap":
        others = MINIMAL if name != "uri" else "[ldap]\n"
        return f"{others}{name} = {value}\n"
    return f"{MINIMAL}[{section}]\n{name} = {value}\n"


@pytest.mark.parametrize(("section", "name", "value", "allowed"), BAD_VALUES)
def test_a_bad_value_is_named_with_what_is_allowed(
    site: Site, section: str, name: str, value: str, allowed: str
) -> None:
    error = site.error(with_option(section, name, value))
    assert f"[{section}]" in error
    assert name in error
    assert value in error
    assert "allowed" in error
    assert allowed in error


def test_every_option_but_free_text_has_a_bad_value_here() -> None:
    free_text = {
        ("ldap", "bind_password_file"),
        ("ldap", "ca_file"),
        ("ldap", "zimbra_localconfig"),
        ("audit", "file"),
        ("coverage", "history"),
        ("relay", "postfix_dir"),
        ("relay", "ca_file"),
    }
    exist = {(section, name) for section, table in SECTIONS.items() for name in table}
    tested = {(section, name) for section, name, _value, _allowed in BAD_VALUES}
    tested |= {("copy legal", name) for section, name in tested if section == "copy archive"}
    known_to_this_test = {key for key in exist if key in DEFAULTS or key in NO_DEFAULT_IN_TABLE}
    later = {
        ("milter", "workers"),
        ("identity", "trust_x_authenticated_user"),
        ("identity", "reinjection_ports"),
        ("identity", "own_relays"),
        ("from", "enforce_attributes"),
        ("from", "reply_to"),
        ("from", "original_from_header"),
        ("metrics", "listen"),
        ("metrics", "confidential"),
    }
    assert known_to_this_test - free_text - later <= tested


LATER_BAD_VALUES = [
    ("milter", "workers", "-1"),
    ("milter", "workers", "lots"),
    ("identity", "trust_x_authenticated_user", "maybe"),
    ("identity", "reinjection_ports", "smtp"),
    ("identity", "reinjection_ports", "70000"),
    ("identity", "own_relays", "relay.example.test/x"),
    ("from", "enforce_attributes", "a=b"),
    ("from", "reply_to", "sender"),
    ("from", "original_from_header", "X Original From"),
    ("from", "original_from_header", "From:"),
    ("metrics", "listen", "everywhere"),
    ("metrics", "confidential", "secret"),
]


@pytest.mark.parametrize(("section", "name", "value"), LATER_BAD_VALUES)
def test_a_bad_value_of_an_option_that_may_not_exist_yet(site: Site, section: str, name: str, value: str) -> None:
    error = site.error(with_option(section, name, value))
    assert f"[{section}]" in error
    if name in SECTIONS.get(section, {}):
        assert name in error
        assert value in error
        assert "allowed" in error


def test_good_values(site: Site) -> None:
    config = site.load(
        """
[milter]
socket = inet:8800@127.0.0.1
socket_mode = 600
socket_group =
[ldap]
uri = ldap://one:389 ldaps://two
starttls = No
search_base = dc=example,dc=test
ca_file = /etc/ca.pem
connect_timeout = 0.5
[cache]
ttl = 0
[identity]
mailbox_hosts = 192.0.2.0/24 2001:db8::/32
unknown_login = ACCEPT
[policy]
directory_failure = accept
[copy archive]
sent_attributes =
received_attributes = amavisArchiveQuarantineTo, zimbraArchiveAccount
inherit = union
"""
    )
    assert config.milter.socket == parse_socket("inet:127.0.0.1:8800")
    assert (config.milter.socket_mode, config.milter.socket_group) == (0o600, "")
    assert config.ldap.uris == ("ldap://one:389", "ldaps://two")
    assert (config.ldap.starttls, config.ldap.search_base) == (False, "dc=example,dc=test")
    assert (config.ldap.ca_file, config.ldap.connect_timeout) == (Path("/etc/ca.pem"), 0.5)
    assert config.cache.ttl == 0
    assert config.policy.identity.mailbox_hosts == ("192.0.2.0/24", "2001:db8::/32")
    assert config.policy.identity.unknown_login == "accept"
    assert config.policy.directory_failure == "accept"
    archive = config.policy.copy_classes[0]
    assert archive.sent_attributes == ()
    assert archive.received_attributes == ("amavisArchiveQuarantineTo", "zimbraArchiveAccount")
    assert archive.inherit == "union"


def test_lists_are_parted_by_blanks_and_commas(site: Site) -> None:
    text = (
        "[identity]\nservice_logins = scanner, Relay=ann@example.test\n[check]\naccept = a-b:uid=ann,ou=people, c-d,\n"
    )
    config = site.load(MINIMAL + text)
    logins = config.policy.identity.service_logins
    assert {login: address and address.text for login, address in logins.items()} == {
        "scanner": None,
        "relay": "ann@example.test",
    }
    assert config.accepted == (("a-b", "uid=ann,ou=people"), ("c-d", ""))


# -- names ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "name", "meant"),
    [
        ("ldap", "urls", "uri"),
        ("ldap", "bind_pasword_file", "bind_password_file"),
        ("ldap", "start_tls", "starttls"),
        ("milter", "sockets", "socket"),
        ("cache", "tll", "ttl"),
        ("policy", "modes", "mode"),
        ("copy archive", "sent_attribute", "sent_attributes"),
        ("copy journal", "recieved_attributes", "received_attributes"),
        ("from", "match_member", "match_members"),
        ("groups", "maxdepth", "max_depth"),
    ],
)
def test_an_unknown_option_names_the_nearest(site: Site, section: str, name: str, meant: str) -> None:
    error = site.error(with_option(section, name, "x"))
    assert f"[{section}]" in error
    assert name in error
    assert "unknown" in error
    assert re.search(rf"\b{meant}\b", error)


@pytest.mark.parametrize(
    ("section", "meant"),
    [
        ("ldaps", "ldap"),
        ("milters", "milter"),
        ("chache", "cache"),
        ("group", "groups"),
        ("form", "from"),
        ("copy", "copy"),
    ],
)
def test_an_unknown_section_names_the_nearest(site: Site, section: str, meant: str) -> None:
    error = site.error(f"{MINIMAL}[{section}]\nx = y\n")
    assert f"[{section}]" in error
    assert "unknown" in error
    assert meant in error.replace(f"[{section}]", "")


def test_a_misspelt_section_is_named_before_what_is_missing_for_it(site: Site) -> None:
    for text in (
        "[ldpa]\nuri = ldap://one\n",
        "[ldap]\nuir = ldap://one\n",
        "[milter]\nsocket = x\n[ldpa]\nuri = ldap://one\n",
    ):
        error = site.error(text)
        assert "did you mean" in error
        assert "missing" not in error


def test_a_class_that_would_copy_nothing_is_a_known_one_misspelt(site: Site) -> None:
    error = site.error(f"{MINIMAL}[copy leagl]\nmode = observe\n")
    assert "[copy leagl]: has neither sent_attributes nor received_attributes" in error
    assert "did you mean [copy legal]?" in error
    (one,) = site.load(f"{MINIMAL}[copy off]\nsent_attributes =\n").policy.copy_classes[2:]
    assert one.sent_attributes == one.received_attributes == ()


def test_what_a_missing_option_takes_is_said(site: Site) -> None:
    assert "[ldap] uri is missing; it has no default: allowed is ldap://host:port" in site.error("")


def test_a_value_cannot_steer_the_terminal_that_shows_its_refusal(site: Site) -> None:
    error = site.error(f"{MINIMAL}starttls = perhaps\x1b[2J\n  or not\n")
    assert "[ldap] starttls = perhaps\\x1b[2J or not: allowed is yes or no" in error


def test_names_in_any_case(site: Site) -> None:
    config = site.load("[LDAP]\nURI = ldap://one\n[Policy]\nMode = observe\n[Copy Archive]\nInherit = union\n")
    assert config.ldap.uris == ("ldap://one",)
    assert config.policy.mode == "observe"
    assert config.policy.copy_classes[0].inherit == "union"


# -- copy classes ---------------------------------------------------------------------------


def test_a_further_copy_class(site: Site) -> None:
    config = site.load(f"{MINIMAL}[copy journal]\nsent_attributes = journalBcc\n")
    assert config.policy.confidential == {"legal", "journal"}
    visible = site.load(f"{MINIMAL}[copy journal]\nsent_attributes = journalBcc\nconfidential = no\n")
    assert visible.policy.confidential == {"legal"}
    assert [one.name for one in config.policy.copy_classes] == ["archive", "legal", "journal"]
    journal = config.policy.copy_classes[-1]
    assert journal.sent_attributes == ("journalBcc",)
    assert journal.received_attributes == ()
    assert "journalBcc" in config.policy.attributes()


def test_several_in_the_order_of_the_file(site: Site) -> None:
    config = site.load(f"{MINIMAL}[copy b-1]\nsent_attributes =\n[copy a_2]\nsent_attributes =\n[copy legal]\n")
    assert [one.name for one in config.policy.copy_classes] == ["archive", "legal", "b-1", "a_2"]


@pytest.mark.parametrize("name", ["copy ", "copy a b", "copy ä", "copy -a", "copy a/b", "copy a.b", "copyjournal"])
def test_a_bad_class_name(site: Site, name: str) -> None:
    error = site.error(f"{MINIMAL}[{name}]\nsent_attributes = x\n")
    assert name.strip() in error


def test_modes_are_overridden_per_section(site: Site) -> None:
    config = site.load(
        f"{MINIMAL}[policy]\nmode = observe\n[copy legal]\nmode = apply\n[copy journal]\nmode = pass\n"
        "sent_attributes = x\n[copy x]\nsent_attributes =\n"
    )
    modes = {one.name: one.mode for one in config.policy.copy_classes}
    assert modes == {"archive": "observe", "legal": "apply", "journal": "pass", "x": "observe"}
    assert (config.policy.mode, config.policy.from_policy.mode) == ("observe", "observe")
    config = site.load(f"{MINIMAL}[from]\nmode = pass\n")
    assert config.policy.from_policy.mode == "pass"
    assert {one.mode for one in config.policy.copy_classes} == {"apply"}


# -- the file -------------------------------------------------------------------------------


def test_comments(site: Site) -> None:
    config = site.load(
        "; before\n[ldap] ; here\nuri = ldap://one  ; and here\n  ; indented\nbind_dn =   ; nothing\n"
        "[milter]\nsocket_group = a;b\n# a hash too\n[policy]\nmode = pass ;\n"
    )
    assert config.ldap.uris == ("ldap://one",)
    assert config.ldap.bind_dn == ""
    assert config.milter.socket_group == "a;b"
    assert config.policy.mode == "pass"


def test_no_interpolation(site: Site) -> None:
    config = site.load("[ldap]\nuri = ldapi://%2Frun%2Fldapi\nsearch_base = dc=%(uri)s,dc=100%,dc=${x}\n")
    assert config.ldap.uris == ("ldapi://%2Frun%2Fldapi",)
    assert config.ldap.search_base == "dc=%(uri)s,dc=100%,dc=${x}"


def test_the_section_default_is_no_magic(site: Site) -> None:
    error = site.error(f"[DEFAULT]\nmode = observe\n{MINIMAL}")
    assert "unknown section" in error
    assert "default" in error.lower()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[ldap]\nuri = ldap://one\nuri = ldap://two\n", "line 3: [ldap] uri is there twice; leave one of them"),
        ("[ldap]\nuri = ldap://one\nURI = ldap://two\n", "line 3: [ldap] uri is there twice; leave one of them"),
        ("[cache]\nttl = 1\n[cache]\nttl = 2\n", "line 3: the section [cache] is there twice; put its options"),
        ("uri = x\n[ldap]\n", "line 1 stands before the first section; write [NAME] above it"),
        ("[ldap\nuri = x\n", "line 1 is no section; write [NAME]"),
        ("[ldap]\n uri x\n", "line 2 is no option; write NAME = VALUE"),
    ],
)
def test_what_is_no_ini_file_is_named_with_its_line(site: Site, text: str, said: str) -> None:
    error = site.error(text)
    assert said in error
    assert error.count("config.ini") == 1


@pytest.mark.parametrize("text", ["s3cr3t\n", "[s3cr3t\n", "[ldap]\ns3cr3t\n"])
def test_a_file_with_a_secret_is_not_quoted(site: Site, text: str) -> None:
    """Somebody names the password's file instead of config.ini."""
    assert "s3cr3t" not in site.error(text)


@pytest.mark.parametrize(
    "text",
    [
        f"{MINIMAL}[Cache]\nttl = 1\n[cache]\nttl = 2\n",
        f"{MINIMAL}[copy  x]\ninherit = union\n[copy x]\ninherit = override\n",
    ],
    ids=["case", "blanks"],
)
def test_what_is_there_twice_in_another_spelling(site: Site, text: str) -> None:
    site.error(text)


@pytest.mark.parametrize(
    "text", ["uri = ldap://one\n", "[ldap\nuri = ldap://one\n", "[ldap]\nno value\n", "[ldap]\n= x\n"]
)
def test_what_is_no_ini_file(site: Site, text: str) -> None:
    site.error(text)


def test_a_file_that_is_not_utf_8(site: Site) -> None:
    error = site.error(MINIMAL.encode() + "search_base = dc=bücher\n".encode("latin-1"))
    number = MINIMAL.count("\n") + 1
    assert f"line {number}: octet 19 (0xFC) is not UTF-8; save the file as UTF-8" in error
    assert "\n" not in error


def test_utf_8(site: Site) -> None:
    assert site.load(f"{MINIMAL}search_base = dc=bücher\n").ldap.search_base == "dc=bücher"


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "missing.ini")
    assert str(tmp_path / "missing.ini") in str(caught.value)


def test_a_directory(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_windows_line_ends(site: Site) -> None:
    site.file.write_bytes(MINIMAL.replace("\n", "\r\n").encode())
    assert load(site.file).ldap.uris == ("ldap://ldap.example.test",)


# -- secrets --------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640, 0o440, 0o660])
def test_a_secret_for_owner_and_group(site: Site, mode: int) -> None:
    secret = site.secret(mode=mode)
    assert site.load(site.bound(secret)).ldap.bind_password_file == secret
    assert read_secret(secret, "what") == "s3cret"


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o444, 0o606, 0o777])
def test_a_secret_for_everybody_is_refused(site: Site, mode: int) -> None:
    secret = site.secret(mode=mode)
    error = site.error(site.bound(secret))
    assert "[ldap] bind_password_file" in error
    assert str(secret) in error
    assert "0640" in error
    assert "s3cret" not in error


@pytest.mark.parametrize("content", ["", "\n", "\r\n"])
def test_an_empty_secret_is_refused(site: Site, content: str) -> None:
    secret = site.secret(content)
    error = site.error(site.bound(secret))
    assert str(secret) in error
    assert "empty" in error


def test_a_missing_secret_is_refused(site: Site) -> None:
    error = site.error(site.bound(site.folder / "nowhere"))
    assert "[ldap] bind_password_file" in error
    assert str(site.folder / "nowhere") in error


def test_a_secret_that_is_a_directory_is_refused(site: Site) -> None:
    (site.folder / "dir").mkdir(mode=0o700)
    assert "bind_password_file" in site.error(site.bound(site.folder / "dir"))


@pytest.mark.parametrize("content", [b"s3cret\xff\xfe", b"s3cr\xe9t\n", "s3cret\n".encode("utf-16"), b"s3cret\0\n"])
def test_a_secret_that_is_no_text_is_refused_without_being_told(site: Site, content: bytes) -> None:
    secret = site.secret(content)
    error = site.error(site.bound(secret))
    assert f"[ldap] bind_password_file = {secret}: is not UTF-8 text; save it as UTF-8" in error
    assert not re.search("s3cr|0x|octet", error.replace(str(secret), ""))


@pytest.mark.parametrize(
    ("content", "password"),
    [
        ("s3cret", "s3cret"),
        ("s3cret\n", "s3cret"),
        ("s3cret\r\n", "s3cret"),
        ("s3cret\r", "s3cret"),
        ("\ufeffs3cret\r\n", "s3cret"),
        (" with blanks \n", " with blanks "),
        ("; no comment %s\n", "; no comment %s"),
        ("pässwort\n", "pässwort"),
    ],
)
def test_the_secret_is_the_line(site: Site, content: str, password: str) -> None:
    assert read_secret(site.secret(content), "what") == password


def test_a_name_needs_a_password(site: Site) -> None:
    error = site.error(f"{MINIMAL}bind_dn = uid=milter\n")
    assert "bind_dn" in error
    assert "bind_password_file" in error
    assert "uid=milter" in error


def test_an_embedded_directory_needs_none(site: Site) -> None:
    config = site.load("[ldap]\nuri = ldif:x.ldif\nbind_dn = uid=milter\nbind_password_file = /nowhere\n")
    assert config.ldap.uris == ("ldif:x.ldif",)


def test_systemd_credentials(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    credentials = site.folder / "credentials"
    credentials.mkdir()
    secret = credentials / "ldap-password"
    secret.write_text("from systemd\n", encoding="utf-8")
    secret.chmod(0o400)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    site.load(site.bound("ldap-password"))
    assert read_secret(Path("ldap-password"), "what") == "from systemd"
    secret.chmod(0o444)
    with pytest.raises(ConfigError):
        read_secret(Path("ldap-password"), "what")


def test_a_bare_name_that_is_no_credential_lies_beside_the_configuration(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `ldapmilter status` finds in a shell, where the service has a credential."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    secret = site.secret("s3cret\n")
    config = site.load(site.bound(secret.name))
    assert config.ldap.bind_password_file == config.file.parent / secret.name
    secret.unlink()
    assert str(config.file.parent / secret.name) in site.error(site.bound(secret.name))


def test_a_secret_is_read_anew_each_time(site: Site) -> None:
    secret = site.secret("old\n")
    assert read_secret(secret, "what") == "old"
    site.secret("new\n")
    assert read_secret(secret, "what") == "new"


RELAYED = f"{MINIMAL}[copy archive]\ndelivery = tracked\n[audit]\nfile = audit.jsonl\n"


def test_the_relay(site: Site) -> None:
    config = site.load(
        f"{RELAYED}[relay]\nlisten = inet:127.0.0.1:10024\nnext_hop = smtp:[a.test]:25 lmtp:unix:/b\n"
        "next_hop_for = vault.test lmtp:[c.test]:24\n  other.test smtp:[d.test]:25\n"
        "key_file = relay.key\nenvelope_sender = <Journal@Example.test>\n"
        "report_from = The Journal <journal@example.test>\n"
    )
    relay = config.relay
    assert (str(relay.listen), relay.domain) == ("inet:127.0.0.1:10024", "copies.invalid")
    assert [hop.text for hop in relay.next_hop] == ["smtp:[a.test]:25", "lmtp:unix:/b"]
    assert sorted(relay.next_hop_for) == ["other.test", "vault.test"]
    assert relay.key_file == site.folder / "relay.key"
    assert (relay.envelope_sender, relay.report_from) == ("Journal@example.test", "The Journal <journal@example.test>")
    archive, legal = config.policy.copy_classes
    assert (archive.delivery, legal.delivery) == ("tracked", "direct")
    assert archive.next_hop_domains is None
    assert config.policy.relay_domain == "copies.invalid"


def test_without_a_relay(site: Site) -> None:
    config = site.load(MINIMAL)
    assert (config.relay.listen, config.policy.relay_domain) == (None, None)
    assert (config.relay.envelope_sender, config.relay.report_from) == ("", "journal@copies.invalid")


def test_hops_of_single_domains_alone_reach_these_domains(site: Site) -> None:
    config = site.load(f"{RELAYED}[relay]\nlisten = unix:/r\nnext_hop_for = Vault.test smtp:[a.test]:25\n")
    assert config.policy.copy_classes[0].next_hop_domains == frozenset({"vault.test"})


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (RELAYED, "delivery = tracked: needs [relay] listen"),
        (f"{RELAYED}[relay]\nlisten = unix:/r\n", "delivery = tracked: needs [relay] next_hop"),
        (
            RELAYED.replace("audit.jsonl", "") + "[relay]\nlisten = unix:/r\nnext_hop = smtp:[a.test]:25\n",
            "delivery = tracked: needs [audit] file",
        ),
        (f"{MINIMAL}[milter]\nsocket = unix:/r\n[relay]\nlisten = unix:/r\n", "is [milter] socket"),
    ],
)
def test_what_the_relay_cannot_do_without(site: Site, text: str, why: str) -> None:
    assert why in site.error(text)


@pytest.mark.parametrize(
    ("policy", "others", "own", "lists"),
    [
        ("apply", ["", "", ""], "", "apply"),
        ("apply", ["observe", "observe", ""], "", "apply"),
        ("apply", ["observe", "observe", "observe"], "", "observe"),
        ("apply", ["observe", "pass", "pass"], "", "observe"),
        ("apply", ["pass", "pass", "pass"], "", "pass"),
        ("apply", ["pass", "pass", "pass"], "apply", "apply"),
        ("observe", ["apply", "apply", "apply"], "", "observe"),
        ("pass", ["", "", ""], "", "pass"),
        ("pass", ["", "", ""], "observe", "observe"),
    ],
)
def test_lists_hold_up_no_mail_where_every_other_part_is_told_not_to(
    site: Site, policy: str, others: list[str], own: str, lists: str
) -> None:
    """Mail waited for a silent directory where each section said ``observe``, and nobody had heard of ``[lists]``."""
    archive, legal, of_from = others
    parts = {"policy": policy, "copy archive": archive, "copy legal": legal, "from": of_from, "lists": own}
    sections = "".join(f"[{section}]\nmode = {mode}\n" for section, mode in parts.items() if mode)
    config = site.load(f"[ldap]\nuri = ldap://ldap.test\n{sections}")
    assert config.policy.lists.mode == lists
    assert config.policy.applies() is ("apply" in config.policy.modes().values())


@pytest.mark.parametrize("section", ["copy my class", "copy Ä", "copy"])
def test_what_a_copy_class_may_be_called_is_said(site: Site, section: str) -> None:
    error = site.error(f"{MINIMAL}[{section}]\nsent_attributes = x\n")
    assert error.endswith("[copy NAME] has a NAME made of a-z, 0-9, - and _")


def test_a_server_without_a_scheme_is_told_with_one(site: Site) -> None:
    error = site.error("[ldap]\nuri = ldap://one ldap2.test\n")
    assert "(ldap2.test has no scheme; write ldap://ldap2.test:389, or ldaps://ldap2.test:636)" in error


def test_a_secret_that_is_a_directory(site: Site, tmp_path: Path) -> None:
    config = site.load(f"{MINIMAL}bind_dn = uid=x\nbind_password_file = {tmp_path}\n")
    with pytest.raises(ConfigError, match=r"cannot be read: it is a directory$"):
        bind_password(config)


def test_the_control_socket_is_another_one_than_the_milters(site: Site) -> None:
    error = site.error(f"{MINIMAL}[milter]\nsocket = unix:/run/x.sock\n[control]\nsocket = /run/x.sock\n")
    assert "[control] socket = /run/x.sock: is [milter] socket; each needs a path of its own" in error
