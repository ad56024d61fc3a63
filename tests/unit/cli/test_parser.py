"""The command line: options that belong to every verb, and what is said of a misspelt word."""

from __future__ import annotations

import pytest

from ldapmilter.cli.main import VERBS, command_line, main

WRONG = [
    (["statsu"], "unknown verb 'statsu'; did you mean status?"),
    (["STATUS"], "unknown verb 'STATUS'; did you mean status?"),
    (["explian", "--auth", "ann@example.test"], "unknown verb 'explian'; did you mean explain?"),
    (["--config", "/x.ini", "explian", "--auth", "x"], "unknown verb 'explian'; did you mean explain?"),
    (["cache", "flsh", "--all"], "unknown action 'flsh'; did you mean flush?"),
    (["audit", "find", "--since", "monday"], "unknown option --since; there is --address, --"),
    (["schema", "--install", "--uri", "ldap1"], "'ldap1' has no scheme; write ldap://ldap1:389 (StartTLS)"),
    (["schema", "--install", "--uri", "ldap1:389"], "'ldap1:389' is not one of ldap://HOST:389, ldaps://HOST:636"),
    (["schema", "--install", "--uri", "http://ldap1"], "'http://ldap1' is not one of ldap://HOST:389"),
    (["xyzzy"], f"unknown verb 'xyzzy'; there is {', '.join(VERBS)}"),
    (["cache", "flsh"], "unknown action 'flsh'; did you mean flush?"),
    (["audit", "search"], "unknown action 'search'; there is find, verify"),
    (["status", "--jsno"], "unknown option --jsno; did you mean --json?"),
    (["explain", "--rctp", "joe@example.test"], "unknown option --rctp; did you mean --rcpt?"),
    (["explain", "--rctp=joe@example.test"], "unknown option --rctp; did you mean --rcpt?"),
    (["--confg", "x", "status"], "unknown option --confg; did you mean --config?"),
    (["status", "--confg", "x"], "unknown option --confg; did you mean --config?"),
    (["cache", "flush", "--domian", "example.test"], "unknown option --domian; did you mean --domain?"),
    (["--json", "status"], "--json goes after the verb"),
    (["cache", "--json", "stats"], "--json goes after the action"),
    (["status", "--frobnicate"], "unknown option --frobnicate; there is --config, --help, --json, --version ("),
    (["schema", "--file", "x"], "unknown option --file; did you mean --root-password-file?"),
    (["schema", "--install", "--uri"], "ldapmilter schema: --uri needs a value ("),
    (
        ["explain", "--rcpt"],
        "ldapmilter explain: --rcpt needs a value (ldapmilter explain --help tells what it takes)\n",
    ),
    (["explain", "--auth", "x"], "ldapmilter explain: --rcpt has to be given ("),
    (["schema", "--install", "--uri", "ldap1"], "ldapmilter schema: --uri: 'ldap1' has no scheme; write ldap://"),
    (["explain", "--from", "a@x.test", "--rcpt", "b@x.test", "--from", "c@x.test"], "--from is given twice, and takes"),
    (["explain", "--auth", "ann", "--rcpt", "b@x.test", "--auth=bob"], "--auth is given twice, and takes one value ("),
    (["status", "now"], "ldapmilter: nothing is expected here any more: now (ldapmilter --help"),
]


@pytest.mark.parametrize(("given", "said"), WRONG, ids=[" ".join(given) for given, _ in WRONG])
def test_a_misspelt_word_is_told_with_the_one_that_was_meant(
    capsys: pytest.CaptureFixture[str], given: list[str], said: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(given)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "given",
    [
        ["--config", "/x.ini", "cache", "stats"],
        ["cache", "--config", "/x.ini", "stats"],
        ["cache", "stats", "--config", "/x.ini"],
        ["cache", "stats", "--config=/x.ini"],
        ["--config", "/other.ini", "cache", "stats", "--config", "/x.ini"],
    ],
    ids=" ".join,
)
def test_the_configuration_may_be_named_before_and_behind_the_verb(given: list[str]) -> None:
    assert command_line().parse_args(given).config == "/x.ini"


def test_without_it_the_default_counts_for_every_verb() -> None:
    assert command_line().parse_args(["status"]).config == "/etc/ldapmilter/config.ini"
    assert command_line().parse_args(["cache", "stats"]).config == "/etc/ldapmilter/config.ini"


def test_the_version_is_told_behind_a_verb_too(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["cache", "flush", "--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("ldapmilter ")


def test_what_looks_like_an_option_behind_two_dashes_is_none() -> None:
    assert command_line().parse_args(["cache", "flush", "--", "--x@example.test"]).addresses == ["--x@example.test"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--remove"], "schema: --remove goes with --install or --acl or --bind-account"),
        (["--acl", "--dry-run"], "schema: --dry-run goes with --install"),
        (["--bind-account", "--uri", "ldap://ldap1"], "schema: --uri goes with --install or --acl"),
    ],
    ids=["remove", "dry-run", "uri"],
)
def test_an_option_of_another_form_of_schema_is_told_with_its_form(
    capsys: pytest.CaptureFixture[str], given: list[str], said: str
) -> None:
    assert main(["schema", *given]) == 2
    assert capsys.readouterr().err == f"ldapmilter: {said}\n"
