"""Mail through a real Postfix, a real directory and the real daemon: who gets what, and who learns what."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.company import ARCHIVE, CARL_ARCHIVE, CARL_HOLD, HOLD, JOE, LEGAL_FROM, PASSWORD, RULE
from tests.e2e.scene import Scene
from tests.support.names import account_dn, cos_dn

if TYPE_CHECKING:
    from collections.abc import Iterator

ANN = "ann@example.test"
LEGAL = [LEGAL_FROM.encode()]
SECRETS = (b"ldapmilter", b"keep.test", b"counsel.test", b"staff@", b"inner@", b"cn=", b"uid=", b"vault@")


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Scene({"main": {}}) as running:
        yield running


def test_a_users_mail_from_end_to_end(scene: Scene) -> None:
    recipients = ["bob@example.test", "staff@example.test"]
    header = f"From: Ann Able <{ANN}>\nTo: undisclosed-recipients:;"
    mailed = scene.submit(ANN, recipients, header=header)
    delivered = scene.delivered(mailed.token)

    copies = {ARCHIVE, HOLD, CARL_ARCHIVE, CARL_HOLD}
    assert {mailbox: len(messages) for mailbox, messages in delivered.items()} == dict.fromkeys(
        {"bob@example.test", "carl@example.test", JOE, *copies}, 1
    )
    for message in (message for messages in delivered.values() for message in messages):
        assert message.froms == LEGAL
        assert message.return_path == ANN
        assert message.body == b"Hello.\n"
        assert not [secret for secret in SECRETS if secret in message.head.lower()]
        assert [name for name, _ in message.fields if name != "received"] == [
            *("from", "to", "message-id", "subject"),
            *(["date"] if b"\nDate:" in message.head else []),
        ]

    told = scene.daemon.explain("--auth", ANN, "--rcpt", *recipients, "--from", f"Ann Able <{ANN}>")
    assert (told["exit_status"], told["verdict"], told["smtp_reply"], told["mode"]) == (0, "accept", None, "apply")
    assert told["identity"] == {"address": ANN, "source": "sasl", "dn": account_dn(ANN)}
    assert (told["from"]["value"], told["from"]["cause"]) == (LEGAL_FROM, "rewrite")
    (reason,) = told["from"]["reasons"]
    assert reason == {
        "level": "cos",
        "dn": cos_dn("sales"),
        "attribute": "ldapMilterSenderFromRewrite",
        "value": RULE,
        "recipient": JOE,
        "group_path": ["staff@example.test", "inner@example.test"],
    }
    where = {
        copy["address"]: [
            (reason["class"], reason["direction"], reason["level"], reason["dn"], reason["attribute"])
            for reason in copy["reasons"]
        ]
        for copy in told["copies"]
    }
    carl = account_dn("carl@example.test")
    assert where == {
        ARCHIVE: [("archive", "sent", "cos", cos_dn("sales"), "ldapMilterArchiveSentBcc")],
        HOLD: [("legal", "sent", "account", account_dn(ANN), "ldapMilterLegalBcc")],
        CARL_ARCHIVE: [("archive", "received", "account", carl, "ldapMilterArchiveReceivedBcc")],
        CARL_HOLD: [("legal", "received", "account", carl, "ldapMilterLegalReceivedBcc")],
    }


def test_one_log_line_with_postfix_queue_id_and_no_legal_copy(scene: Scene) -> None:
    mailed = scene.submit(ANN, [JOE, "carl@example.test"])
    assert scene.postfix.said(f"{mailed.sent.queue_id}: client=")
    (line,) = scene.daemon.said(mailed.sent.queue_id)
    assert line.startswith(f"{mailed.sent.queue_id}: ")
    assert f"copy={ARCHIVE}" in line
    assert f"copy={CARL_ARCHIVE}" in line
    assert f'from="{LEGAL_FROM}"' in line
    assert cos_dn("sales") in line.replace('\\"', '"')
    assert "counsel" not in scene.daemon.log()
    assert "Legal" not in scene.daemon.log().replace(LEGAL_FROM, "")


def test_probe_sees_what_postfix_does(scene: Scene) -> None:
    told = scene.daemon.probe("--auth", ANN, "--rcpt", "bob@example.test", "staff@example.test", "--from", ANN)
    assert (told["exit_status"], told["verdict"], told["from_after"]) == (0, "accept", [LEGAL_FROM])
    assert {copy["address"] for copy in told["copies"]} == {ARCHIVE, HOLD, CARL_ARCHIVE, CARL_HOLD}
    assert {tuple(copy["parameters"]) for copy in told["copies"]} == {("NOTIFY=NEVER",)}


def test_a_copy_that_bounces_tells_nobody(scene: Scene) -> None:
    mailed = scene.submit("ian@example.test", ["bob@example.test"])
    assert scene.counts(mailed.token) == {"bob@example.test": 1}
    assert scene.postfix.said("to=<bounce-copy@keep.test>")  # it was tried, and did bounce


def test_an_ordinary_bounce_still_comes_and_names_no_copy(scene: Scene) -> None:
    for author in ("ian@example.test", "jane@example.test"):
        mailed = scene.submit(author, ["bounce-nobody@elsewhere.test"])
        delivered = scene.delivered(mailed.token)
        assert {mailbox: len(messages) for mailbox, messages in delivered.items()} == {author: 1}
        (bounce,) = delivered[author]
        assert bounce.return_path in ("", "MAILER-DAEMON")
        assert b"bounce-nobody@elsewhere.test" in bounce.body
        assert b"bounce-copy" not in bounce.body


def test_a_success_report_names_no_copy(scene: Scene) -> None:
    token, message = scene.compose(ANN)
    with scene.session(ANN) as smtp:
        assert smtp.command(f"MAIL FROM:<{ANN}>").code == 250
        assert smtp.command(f"RCPT TO:<{JOE}> NOTIFY=SUCCESS,FAILURE,DELAY").code == 250
        assert smtp.command("DATA").code == 354
        smtp.write(message + b".\r\n")
        assert smtp.reply().code == 250
    delivered = scene.delivered(token)
    assert set(delivered) == {JOE, ARCHIVE, HOLD, ANN}
    (report,) = delivered[ANN]
    assert JOE.encode() in report.body
    assert b"keep.test" not in report.body
    assert b"counsel.test" not in report.body


def test_an_outsider_who_forges_a_user_triggers_nothing_of_the_users(scene: Scene) -> None:
    header = f"From: Ann Able <{ANN}>"
    mailed = scene.mail(ANN, ["carl@example.test"], header=header)
    assert mailed.sent.accepted
    delivered = scene.delivered(mailed.token)
    assert set(delivered) == {"carl@example.test", CARL_ARCHIVE, CARL_HOLD}
    assert all(message.froms == [f"Ann Able <{ANN}>".encode()] for (message,) in delivered.values())
    (line,) = scene.daemon.said(mailed.sent.queue_id)
    assert "identity=none" in line


def test_a_bounce_message_keeps_its_null_sender(scene: Scene) -> None:
    mailed = scene.mail("", ["carl@example.test"], header="From: MAILER-DAEMON@elsewhere.test")
    delivered = scene.delivered(mailed.token)
    assert set(delivered) == {"carl@example.test", CARL_ARCHIVE, CARL_HOLD}


KIM = "kim@example.test"


def test_nothing_leaks_into_the_next_message_of_a_connection(scene: Scene) -> None:
    with scene.session(KIM) as smtp:
        first, message = scene.compose(KIM)
        assert smtp.message(KIM, [JOE, "carl@example.test"], message).code == 250
        second, message = scene.compose(KIM)
        assert smtp.message(KIM, ["bob@example.test"], message).code == 250
        third, message = scene.compose(KIM)
        assert smtp.message(KIM, [JOE], message).code == 250
        assert smtp.command("QUIT").code == 221
    delivered = scene.delivered(first)
    assert set(delivered) == {JOE, "carl@example.test", CARL_ARCHIVE, CARL_HOLD}
    assert delivered[JOE][0].froms == LEGAL
    delivered = scene.delivered(second)
    assert {mailbox: [m.froms for m in found] for mailbox, found in delivered.items()} == {
        "bob@example.test": [[f"<{KIM}>".encode()]]
    }
    delivered = scene.delivered(third)
    assert {mailbox: [m.froms for m in found] for mailbox, found in delivered.items()} == {JOE: [LEGAL]}


@pytest.mark.parametrize("ending", ["RSET", "EHLO client.test"])
def test_a_message_given_up_leaves_nothing(scene: Scene, ending: str) -> None:
    with scene.session(KIM) as smtp:
        assert smtp.command(f"MAIL FROM:<{KIM}>").code == 250
        for recipient in (JOE, "carl@example.test"):
            assert smtp.command(f"RCPT TO:<{recipient}>").code == 250
        assert smtp.command(ending).code == 250
        token, message = scene.compose(KIM)
        assert smtp.message(KIM, ["bob@example.test"], message).code == 250
    delivered = scene.delivered(token)
    assert set(delivered) == {"bob@example.test"}
    assert delivered["bob@example.test"][0].froms == [f"<{KIM}>".encode()]


def test_quit_and_a_lost_client_in_mid_message(scene: Scene) -> None:
    for leave in ("QUIT", ""):
        with scene.session(KIM) as smtp:
            assert smtp.command(f"MAIL FROM:<{KIM}>").code == 250
            assert smtp.command(f"RCPT TO:<{JOE}>").code == 250
            if leave:
                assert smtp.command(leave).code == 221
    with scene.session(KIM) as smtp:  # lost amid the header
        assert smtp.command(f"MAIL FROM:<{KIM}>").code == 250
        assert smtp.command(f"RCPT TO:<{JOE}>").code == 250
        assert smtp.command("DATA").code == 354
        smtp.write(b"From: <kim@example.test>\r\nSubject: cut o")
    mailed = scene.submit(KIM, ["bob@example.test"])
    assert scene.counts(mailed.token) == {"bob@example.test": 1}


@pytest.mark.parametrize("who", ["dave@example.test", "frank@example.test"])
def test_an_archive_address_that_cannot_be_is_skipped_aloud(scene: Scene, who: str) -> None:
    mailed = scene.submit(who, ["bob@example.test"])
    assert scene.counts(mailed.token) == {"bob@example.test": 1}
    (line,) = scene.daemon.said(mailed.sent.queue_id)
    assert "ldapMilterArchiveSentBcc" in line
    assert account_dn(who) in line
    made_up = ("no-at-sign", "two@", "ghost")
    assert not [box for box in scene.postfix.recipients() if box.startswith(made_up)]


@pytest.mark.parametrize("who", ["erin@example.test", "gina@example.test"])
def test_a_legal_address_that_cannot_be_holds_the_mail(scene: Scene, who: str) -> None:
    before = len(scene.daemon.log())
    mailed = scene.mail(who, ["bob@example.test"], login=who)
    assert (mailed.sent.stage, mailed.sent.code, mailed.sent.text[:5]) == ("data", 451, "4.3.0")
    assert scene.counts(mailed.token) == {}
    told = scene.daemon.cli("status")
    assert told.returncode == 1
    assert "copy class legal has met an invalid value" in told.stdout
    (line,) = scene.daemon.said("verdict=tempfail", who)
    assert line.endswith(f": verdict=tempfail identity=sasl:{who} mail_from=<{who}> nrcpt=1")
    said = scene.daemon.log()[before:]
    for secret in (account_dn(who), "no-at-sign-either", "phantom", "LegalSentBcc"):
        assert secret not in said
        assert secret not in mailed.sent.text


VAULT = "vault@example.test"


@pytest.mark.parametrize(
    "spelling", [VAULT, "VAULT@Example.TEST", "safe@example.test", "Safe@EXAMPLE.test", "vault@alias.test"]
)
def test_a_copy_address_that_is_a_recipient_already_gets_one_message(scene: Scene, spelling: str) -> None:
    mailed = scene.submit("henry@example.test", [spelling, "bob@example.test"])
    assert scene.counts(mailed.token) == {VAULT: 1, "bob@example.test": 1}
    alone = scene.submit("henry@example.test", ["bob@example.test"])
    assert scene.counts(alone.token) == {VAULT: 1, "bob@example.test": 1}


@pytest.mark.parametrize("recipient", ["joe@SPECIALCOMPANY.COM", "Joe@SpecialCompany.com", "x@specialcompany.com"])
def test_a_domain_matches_in_any_case(scene: Scene, recipient: str) -> None:
    mailed = scene.submit(KIM, [recipient])
    delivered = scene.delivered(mailed.token)
    assert {box: [m.froms for m in found] for box, found in delivered.items()} == {recipient.lower(): [LEGAL]}


@pytest.mark.parametrize(
    "domain",
    [
        "notspecialcompany.com",
        "specialcompany.com.evil.net",
        "sub.specialcompany.com",
        "specialcompany.co",
        "specialcompany-com.test",
    ],
)
def test_a_near_miss_does_not_match(scene: Scene, domain: str) -> None:
    mailed = scene.submit(KIM, [f"joe@{domain}", '"joe@specialcompany.com"@elsewhere.test'])
    delivered = scene.delivered(mailed.token)
    assert f"joe@{domain}" in delivered
    assert all(message.froms == [f"<{KIM}>".encode()] for found in delivered.values() for message in found)


@pytest.mark.parametrize(
    "path",
    [
        "<CARL@Example.TEST>",
        '<"carl"@example.test>',
        '<"c\\arl"@example.test>',
        "<@relay.test:carl@example.test>",
        "<carl@example.test.>",
        "<carl%example.test>",
        "<example.test!carl>",
        "carl@example.test",
        "<<carl@example.test>>",
        "<  carl@example.test  >",
        "<carl(x)@example.test>",
        "<carl@example(x).test>",
        "<carl@example.test (x)>",
        "<carl @example.test>",
        "<c\\arl@example.test>",
        "<carl@exa\\mple.test>",
        '<"carl@example.test">',
        "<;carl@example.test>",
        "<carl@example.test,>",
    ],
)
def test_no_spelling_that_reaches_a_mailbox_evades_its_copies(scene: Scene, path: str) -> None:
    token, message = scene.compose("x@outside.test")
    with scene.session() as smtp:
        assert smtp.command("MAIL FROM:<x@outside.test>").code == 250
        assert smtp.command(f"RCPT TO:{path}").code == 250
        assert smtp.command("DATA").code == 354
        smtp.write(message + b".\r\n")
        assert smtp.reply().code == 250
    assert scene.counts(token) == dict.fromkeys(("carl@example.test", CARL_ARCHIVE, CARL_HOLD), 1)


@pytest.mark.parametrize("login", ["ann@example.test", "A.Able@Alias.Test"])
def test_the_login_decides_not_the_envelope_sender(scene: Scene, login: str) -> None:
    told = scene.daemon.probe("--auth", login, "--mail-from", "jane@example.test", "--rcpt", JOE)
    assert told["from_after"] == [LEGAL_FROM]
    assert {copy["address"] for copy in told["copies"]} == {ARCHIVE, HOLD}


def test_a_login_that_is_nobodys_waits(scene: Scene) -> None:
    told = scene.daemon.probe("--auth", "stranger@example.test", "--mail-from", ANN, "--rcpt", "bob@example.test")
    assert (told["exit_status"], told["verdict"], told["smtp_reply"][:9]) == (1, "tempfail", "451 4.3.0")
    assert told["copies"] == []


def test_postfix_itself_knows_nothing_of_all_this(scene: Scene) -> None:
    assert "ldapmilter" not in scene.postfix.log().replace(str(scene.daemon.directory), "").lower()
    assert "warning: milter" not in scene.postfix.log()
    assert "Traceback" not in scene.daemon.log()
    assert PASSWORD not in scene.daemon.log()
