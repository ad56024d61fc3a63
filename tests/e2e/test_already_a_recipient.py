"""A copy's address is in the envelope, and a later milter may refuse it there: one delivery, always, and a record."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

import pytest

from ldapmilter.daemon.recipient_filter import RecipientFilter
from tests.e2e.company import ALIASES, ARCHIVE, HOLD
from tests.e2e.scene import Scene
from tests.support.later_milter import LaterMilter

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ANN: Final = "ann@example.test"
HENRY: Final = "henry@example.test"
FAR: Final = "far@elsewhere.test"
VAULT: Final = "vault@example.test"
BOX: Final = "box@store.test"

SPELLINGS: Final = {
    "as the policy has it": [f"<{HOLD}>"],
    "another case": ["<Hold@Counsel.TEST>"],
    "named twice": [f"<{HOLD}>", f"<{HOLD}>"],
    "in two cases": [f"<{HOLD}>", "<HOLD@counsel.test>"],
    "a report asked for": [f"<{HOLD}> NOTIFY=SUCCESS,FAILURE"],
    "no report asked for": [f"<{HOLD}> NOTIFY=NEVER"],
    "an original recipient": [f"<{HOLD}> ORCPT=rfc822;somebody@else.test"],
    "several, each with its own": [
        f"<{HOLD}> NOTIFY=FAILURE",
        "<HOLD@counsel.test> NOTIFY=NEVER",
        "<Hold@counsel.test> ORCPT=rfc822;a@b",
    ],
    "quoted": ['<"hold"@counsel.test>'],
    "a source route": ["<@relay.test:hold@counsel.test>"],
    "a comment": ["<hold@counsel.test(for the file)>"],
    "octets in a comment": [b"<hold@counsel.test(\xe9)>"],
    "without brackets": [HOLD],
    "a trailing dot": ["<hold@counsel.test.>"],
}
ALIAS_SPELLINGS: Final = {
    "its name": [f"<{VAULT}>"],
    "an alias": ["<safe@example.test>"],
    "the alias domain": ["<VAULT@alias.test>"],
    "all of them": [f"<{VAULT}>", "<Safe@example.test>", "<vault@alias.test>"],
}


@pytest.fixture(scope="module")
def later() -> Iterator[LaterMilter]:
    with LaterMilter() as milter:
        yield milter


@pytest.fixture(scope="module")
def scene(later: LaterMilter) -> Iterator[Scene]:
    # Not auto: the Postfix that would be asked is the machine's own.
    options = {"main": {"milter": {"enable_original_recipient": "yes"}}}
    with Scene(options, smtpd={"main": f",{later.address}"}) as running:
        yield running


@pytest.fixture(scope="module", params=["yes", "no"])
def mapped(later: LaterMilter, request: pytest.FixtureRequest) -> Iterator[Scene]:
    """A Postfix whose virtual aliases lead the copy's address on, as Zimbra's do for lists and aliases."""
    maps = f"inline:{{ {{{HOLD} = {BOX}}}, {{{VAULT} = {BOX}}}, {ALIASES.replace(VAULT, BOX)} }}"
    main = {"virtual_alias_maps": maps, "enable_original_recipient": request.param}
    options = {"main": {"milter": {"enable_original_recipient": request.param}}}
    with Scene(options, smtpd={"main": f",{later.address}"}, postfix_main=main) as running:
        yield running


def submit(scene: Scene, author: str, recipients: Sequence[str | bytes]) -> tuple[list[int], str]:
    token, message = scene.compose(author)
    with scene.session(author) as smtp:
        assert smtp.command(f"MAIL FROM:<{author}>").code == 250
        codes = []
        for recipient in (f"<{FAR}>", *recipients):
            smtp.write(b"RCPT TO:" + (recipient if isinstance(recipient, bytes) else recipient.encode()) + b"\r\n")
            codes.append(smtp.reply().code)
        assert smtp.command("DATA").code == 354
        smtp.write(message + b".\r\n")
        assert smtp.reply().code == 250
    return codes[1:], token


def refuse(later: LaterMilter, recipients: Sequence[str | bytes]) -> None:
    texts = [one.decode("utf-8", "surrogateescape") if isinstance(one, bytes) else one for one in recipients]
    later.refuses = {re.split(" (?=NOTIFY|ORCPT)", text)[0].strip("<>").lower() for text in texts}


def audited(scene: Scene, token: str) -> dict[str, Any]:
    lines = (scene.daemon.directory / "audit.jsonl").read_text(encoding="ascii").splitlines()
    (line,) = [line for line in lines if token in line]
    record: dict[str, Any] = json.loads(line)
    return record


@pytest.mark.parametrize("refused", [False, True], ids=["taken", "refused"])
@pytest.mark.parametrize("recipients", SPELLINGS.values(), ids=SPELLINGS)
def test_who_addresses_the_copy_gets_it_made_once(
    scene: Scene, later: LaterMilter, recipients: Sequence[str | bytes], *, refused: bool
) -> None:
    refuse(later, recipients if refused else ())
    codes, token = submit(scene, ANN, recipients)
    assert set(codes) == {571 if refused else 250}
    # Octets that are not UTF-8 cannot be handed back to libmilter: that recipient stays beside the copy.
    stays = recipients == SPELLINGS["octets in a comment"] and not refused
    expected = {FAR: 1, ARCHIVE: 1, HOLD: 2 if stays else 1}
    found = scene.counts(token)
    assert {box: count for box, count in found.items() if box != ANN} == expected
    (copy,) = [copy for copy in audited(scene, token)["copies"] if copy["address"] == HOLD]
    assert copy["already_a_recipient"]
    assert copy["added"] is True


@pytest.mark.parametrize("refused", [False, True], ids=["taken", "refused"])
@pytest.mark.parametrize("recipients", ALIAS_SPELLINGS.values(), ids=ALIAS_SPELLINGS)
def test_the_same_account_under_another_address(
    scene: Scene, later: LaterMilter, recipients: Sequence[str], *, refused: bool
) -> None:
    refuse(later, recipients if refused else ())
    _, token = submit(scene, HENRY, recipients)
    assert scene.counts(token) == {FAR: 1, VAULT: 1}


@pytest.mark.parametrize("refused", [False, True], ids=["taken", "refused"])
@pytest.mark.parametrize("recipients", SPELLINGS.values(), ids=SPELLINGS)
def test_an_alias_of_postfix_leads_the_copy_on(
    mapped: Scene, later: LaterMilter, recipients: Sequence[str | bytes], *, refused: bool
) -> None:
    refuse(later, recipients if refused else ())
    _, token = submit(mapped, ANN, recipients)
    found = {box: count for box, count in mapped.counts(token).items() if box != ANN}
    stays = recipients == SPELLINGS["octets in a comment"] and not refused
    twice = stays and mapped.postfix_main["enable_original_recipient"] == "yes"
    assert found == {FAR: 1, ARCHIVE: 1, BOX: 2 if twice else 1}


@pytest.mark.parametrize("refused", [False, True], ids=["taken", "refused"])
@pytest.mark.parametrize("recipients", ALIAS_SPELLINGS.values(), ids=ALIAS_SPELLINGS)
def test_an_alias_of_postfix_leads_all_addresses_of_the_account_on(
    mapped: Scene, later: LaterMilter, recipients: Sequence[str], *, refused: bool
) -> None:
    refuse(later, recipients if refused else ())
    _, token = submit(mapped, HENRY, recipients)
    assert mapped.counts(token) == {FAR: 1, BOX: 1}


def test_nobody_is_told_of_the_copy_that_a_refusal_did_not_stop(scene: Scene, later: LaterMilter) -> None:
    refuse(later, [HOLD])
    codes, token = submit(scene, ANN, [f"<{HOLD}> NOTIFY=SUCCESS,FAILURE,DELAY"])
    assert codes == [571]
    assert ANN not in scene.counts(token)


def test_an_extension_is_another_address(scene: Scene, later: LaterMilter) -> None:
    later.refuses = set()
    _, token = submit(scene, ANN, ["<hold+x@counsel.test>"])
    assert scene.counts(token) == {FAR: 1, ARCHIVE: 1, "hold+x@counsel.test": 1, HOLD: 1}


def test_a_message_that_is_refused_as_a_whole_has_no_copy(scene: Scene, later: LaterMilter) -> None:
    later.refuses, later.refuses_all = set(), True
    try:
        mailed = scene.mail(ANN, [FAR, HOLD], login=ANN)
    finally:
        later.refuses_all = False
    assert mailed.sent.code == 571
    assert scene.counts(mailed.token) == {}


def test_mail_of_sendmail_comes_to_everybody_or_nobody(scene: Scene) -> None:
    token, message = scene.compose("root@mx1.example.test")
    scene.postfix.sendmail("root@mx1.example.test", ["carl@example.test", "Carl-Hold@counsel.test"], message)
    found = scene.counts(token)
    assert {box.lower(): count for box, count in found.items()} == {
        "carl@example.test": 1,
        "carl-archive@keep.test": 1,
        "carl-hold@counsel.test": 1,
    }
    (copy,) = [c for c in audited(scene, token)["copies"] if c["address"] == "carl-hold@counsel.test"]
    assert (copy["already_a_recipient"], copy["added"]) == (["Carl-Hold@counsel.test"], False)


def test_who_writes_to_an_archive_openly_gets_its_bounce(scene: Scene, later: LaterMilter) -> None:
    later.refuses = set()
    mailed = scene.submit("ian@example.test", ["bounce-copy@keep.test"])
    assert scene.counts(mailed.token) == {"ian@example.test": 1}
    (bounce,) = scene.delivered(mailed.token)["ian@example.test"]
    assert b"bounce-copy@keep.test" in bounce.body


def test_a_real_postfix_is_asked(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAIL_CONFIG", str(scene.postfix.config_directory))
    asking = RecipientFilter("auto")
    told = []
    for value in ("yes", "no", "yes"):
        scene.postfix.set_parameters(enable_original_recipient=value)
        asking.ask()
        told.append(asking.tells_apart)
    assert told == [True, False, True]


def test_explain_probe_and_the_audit_say_so(scene: Scene, later: LaterMilter) -> None:
    later.refuses = set()
    _, token = submit(scene, ANN, ["<HOLD@counsel.test>"])
    arguments = ("--auth", ANN, "--rcpt", FAR, "HOLD@counsel.test")
    told = scene.daemon.cli("explain", *arguments).stdout
    assert "already a recipient, as HOLD@counsel.test: the copy takes its place" in told
    found = scene.daemon.cli("audit", "find", "--message-id", f"<{token}@client.test>").stdout
    # smtpd's macro {rcpt_addr} is in lower case.
    assert "already a recipient, as hold@counsel.test: the copy took its place" in found
    (copy,) = [one for one in scene.daemon.explain(*arguments)["copies"] if one["address"] == HOLD]
    assert (copy["already_a_recipient"], copy["added"]) == (["HOLD@counsel.test"], True)
    assert scene.daemon.probe(*arguments)["replaced"] == ["HOLD@counsel.test"]
    assert "replaced  HOLD@counsel.test" in scene.daemon.cli("probe", *arguments).stdout
    assert HOLD not in scene.daemon.log().lower()
