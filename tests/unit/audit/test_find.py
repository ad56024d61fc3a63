"""ldapmilter audit find: what it finds, in what order, what it says, and that it never hides a gap."""

from __future__ import annotations

import bz2
import fcntl
import gzip
import json
import lzma
import os
import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ldapmilter.audit import reading as reading_module
from ldapmilter.audit.criteria import Criteria
from ldapmilter.audit.lock import AuditLock, lock_file
from ldapmilter.audit.record import line, taken_back
from ldapmilter.audit.search import Search
from ldapmilter.cli.main import main
from ldapmilter.message import Envelope, Identity
from ldapmilter.policy.effect import FromChange
from ldapmilter.policy.model import Decision
from tests.unit.audit.example import ANN, FULL, NOON, copy, recorded

if TYPE_CHECKING:
    from collections.abc import Callable

DAY = timedelta(days=1)
QUIET = Decision(identity=Identity(source="none"))
ELSE = Envelope(sender="x@else.test", recipients=("y@else.test",))


class Place:
    """A configuration and the audit files that it names."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.config = directory / "config.ini"
        self.file = directory / "audit.jsonl"
        self.config.write_text(f"[ldap]\nuri = ldif:none.ldif\n[audit]\nfile = {self.file}\n", encoding="ascii")
        self.capsys = capsys
        self.error = ""

    def put(self, name: str, *records: dict[str, Any], pack: Callable[[bytes], bytes] = bytes) -> Path:
        path = self.file.with_name(name)
        path.write_bytes(pack(b"".join(map(line, records))))
        return path

    def find(self, *arguments: str, status: int = 0) -> str:
        try:
            found = main(["--config", str(self.config), "audit", "find", *arguments])
        except SystemExit as error:
            found = int(error.code or 0)
        out, self.error = self.capsys.readouterr()
        assert found == status, (found, out, self.error)
        return out

    def ids(self, *arguments: str, status: int = 0) -> list[str]:
        """Return the queue ids that are found, in order."""
        return [json.loads(text)["queue_id"] for text in self.find(*arguments, "--json", status=status).splitlines()]


@pytest.fixture
def place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Place:
    return Place(tmp_path, capsys)


def message(queue_id: str, days: float = 0, decision: Decision = QUIET, **more: Any) -> Any:
    values: dict[str, Any] = {"envelope": ELSE, "message_ids": (f"<{queue_id}@else.test>",), "old_from": None, **more}
    return recorded(decision, after=days * DAY, queue_id=queue_id, **values)


# -- criteria -----------------------------------------------------------------------------------


def test_by_queue_id(place: Place) -> None:
    place.put("audit.jsonl", message("4A"), message("4AB"), message("4a"), message("4A", 1))
    assert place.ids("--queue-id", "4A") == ["4A", "4A"]


@pytest.mark.parametrize("given", ["<One@Example.test>", "one@example.test", " <one@example.TEST> "])
def test_by_message_id_with_or_without_brackets(place: Place, given: str) -> None:
    place.put(
        "audit.jsonl",
        message("1", message_ids=("<one@example.test>",)),
        message("2", message_ids=("  <ONE@example.test>",)),
        message("3", message_ids=("<xone@example.test>",)),
        message("4", message_ids=None),
    )
    assert place.ids("--message-id", given) == ["1", "2"]


@pytest.mark.parametrize("given", ["one@example.test", "two@example.test"])
def test_a_message_with_two_message_ids_is_found_by_each(place: Place, given: str) -> None:
    place.put("audit.jsonl", message("1", message_ids=("<one@example.test>", "<TWO@example.test>")), message("2"))
    assert place.ids("--message-id", given) == ["1"]
    text = place.find("--message-id", given)
    assert "message id  <one@example.test>" in text
    assert "message id  <TWO@example.test>" in text


def test_a_record_made_before_all_message_ids_were_kept_is_found_by_the_one_that_was(place: Place) -> None:
    old = message("1")
    del old["message_ids"]
    place.put("audit.jsonl", old)
    assert place.ids("--message-id", "1@else.test") == ["1"]
    assert "message id  <1@else.test>" in place.find("--queue-id", "1")


def test_records_without_a_message_id_are_counted_in_the_answer(place: Place) -> None:
    ann: dict[str, Any] = {"envelope": Envelope(sender="ann@example.test")}
    place.put(
        "audit.jsonl",
        message("1"),
        message("2", message_ids=None),
        message("3", 1, message_ids=()),
        message("4", message_ids=("",), **ann),
    )
    look = "look for them by --queue-id, --address or --day"
    assert f"; 3 records of that time without a Message-ID: {look}" in place.find("--message-id", "1@else.test")
    place.find("--message-id", "x@else.test", "--day", "2026-11-22", status=1)
    assert "nothing found: 1 file read, 4 records from " in place.error
    assert f"; 2 records of that time without a Message-ID: {look}" in place.error
    place.find("--message-id", "x@else.test", "--address", "ann@example.test", status=1)
    assert f"; 1 record of that time without a Message-ID: {look}" in place.error
    assert "Message-ID" not in place.find("--address", "ann@example.test").splitlines()[-1]


def test_by_day(place: Place) -> None:
    place.put("audit.jsonl", *(message(str(days), days) for days in (-0.51, -0.5, 0, 0.49, 0.5)))
    assert place.ids("--day", "2026-11-22") == ["-0.5", "0", "0.49"]


def test_all_criteria_have_to_hold(place: Place) -> None:
    one: dict[str, Any] = {"message_ids": ("<one@x.test>",)}
    ann: dict[str, Any] = {"envelope": Envelope(sender="ann@example.test"), **one}
    place.put("audit.jsonl", message("1", **one), message("2", **ann), message("3", 1, **ann), message("3", **one))
    assert place.ids("--message-id", "one@x.test", "--address", "ann@example.test") == ["2", "3"]
    assert place.ids("--message-id", "one@x.test", "--address", "ann@example.test", "--day", "2026-11-23") == ["3"]
    assert place.ids("--queue-id", "3", "--day", "2026-11-22") == ["3"]


WHERE = {
    "sender": message("1", envelope=Envelope(sender="Ann@Example.TEST")),
    "quoted sender": message("1", envelope=Envelope(sender='"ann"@example.test')),
    "recipient": message("1", envelope=Envelope(recipients=("a@b.test", "ann@example.test"))),
    "login": message("1", envelope=Envelope(login="ANN@example.test")),
    "identity": message("1", decision=Decision(identity=ANN)),
    "copy": message("1", decision=Decision(identity=Identity(source="none"), copies=(copy("ann@example.test", "x"),))),
    "new From": message(
        "1",
        decision=Decision(
            identity=Identity(source="none"),
            from_change=FromChange(value='"Ann, A." <ann@example.test>', cause="rewrite", reasons=()),
        ),
    ),
    "old From": message(
        "1",
        decision=Decision(
            identity=Identity(source="none"), from_change=FromChange(value="x@y.test", cause="rewrite", reasons=())
        ),
        old_from=("Boss <boss@example.test>, Ann <ann@example.test>",),
    ),
}


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("given", ["ann@example.test", "ANN@EXAMPLE.TEST", "<ann@example.test>"])
def test_an_address_is_found_wherever_it_is_named(place: Place, where: str, given: str) -> None:
    place.put("audit.jsonl", message("0"), WHERE[where], message("2"))
    assert place.ids("--address", given) == ["1"]


@pytest.mark.parametrize(
    "given",
    [
        "bob@example.test",  # a member of a list
        "sub@example.test",  # a list on the way to it
        "boss@example.test",  # whose From it was not to use
        "hold@counsel.test",
    ],
)
def test_members_lists_and_refused_addresses_are_found(place: Place, given: str) -> None:
    place.put("audit.jsonl", message("0"), message("1", decision=FULL))
    assert place.ids("--address", given) == ["1"]


@pytest.mark.parametrize("stored", ["ann@bücher.example", "ann@xn--bcher-kva.example", "ann@BÜCHER.example"])
@pytest.mark.parametrize("given", ["ann@bücher.example", "ann@xn--bcher-kva.example"])
def test_a_domain_is_found_in_either_spelling(place: Place, stored: str, given: str) -> None:
    place.put("audit.jsonl", message("1", envelope=Envelope(sender=stored)))
    assert place.ids("--address", given) == ["1"]


@pytest.mark.parametrize("given", ["ann@example.tes", "an@example.test", "ann@sub.example.test"])
def test_what_is_only_like_it_is_not_found(place: Place, given: str) -> None:
    place.put("audit.jsonl", *WHERE.values())
    assert place.ids("--address", given, status=1) == []


@pytest.mark.parametrize(
    ("written", "given"),
    [
        ('"a\\nn"@example.test', "ann@example.test"),  # a quoted pair means the character
        ("zoë@example.test", "zoë@example.test"),
        ('"a b"@example.test', '"a b"@example.test'),
        ("a/b@example.test", "A/B@example.test"),
        ("caf\udce9@example.test", "caf\\xE9@example.test"),
        ("x+Y=z@example.test", "X+y=Z@example.test"),
    ],
)
def test_odd_spellings_are_found(place: Place, written: str, given: str) -> None:
    place.put("audit.jsonl", message("0"), message("1", envelope=Envelope(sender=written)))
    assert place.ids("--address", given) == ["1"]


def test_what_answers_but_has_another_shape_is_named(place: Place) -> None:
    odd = {**message("1"), "offered": "x@else.test"}
    place.put("audit.jsonl", odd, message("1"), message("2"))
    assert place.ids("--queue-id", "1", status=1) == ["1"]
    assert "line 1 has not the shape of a record" in place.error


# -- files --------------------------------------------------------------------------------------


def test_rotated_files_are_read_in_order_of_time_however_they_are_named(place: Place) -> None:
    place.put("audit.jsonl", message("now", 9))
    place.put("audit.jsonl.1", message("1", 8))
    place.put("audit.jsonl.2.gz", message("2", 7), pack=gzip.compress)
    place.put("audit.jsonl.10.gz", message("10", 6), pack=gzip.compress)
    place.put("audit.jsonl-20261122", message("dated", 5))
    place.put("audit.jsonl-20261121.gz", message("dated.gz", 4), message("4.5", 4.5), pack=gzip.compress)
    place.put("audit.jsonl-20261120.xz", message("xz", 3), pack=lzma.compress)
    place.put("audit.jsonl-20261119.bz2", message("bz2", 2), pack=bz2.compress)
    place.put("audit.jsonl-2026111800.backup", message("backup", 1))
    place.put("other.jsonl", message("other", 0))
    place.put("audit.jsonlx", message("other", 0))
    expected = ["backup", "bz2", "xz", "dated.gz", "4.5", "dated", "10", "2", "1", "now"]
    assert place.ids("--address", "x@else.test") == expected


def test_a_rotation_during_the_search_loses_nothing(place: Place) -> None:
    place.put("audit.jsonl.1", message("1"))
    place.put("audit.jsonl", message("2", 1))
    complaints: list[str] = []
    search = Search(place.file, complaints.append)
    found = []
    for record in search.run(Criteria()):
        found.append(record["queue_id"])
        if found == ["1"]:
            place.file.with_name("audit.jsonl.1").rename(place.file.with_name("audit.jsonl.2"))
            place.file.rename(place.file.with_name("audit.jsonl.1"))
            place.put("audit.jsonl", message("3", 2))
    assert sorted(found) == ["1", "2", "3"]
    assert search.problems
    assert any("rotated during the search" in text for text in complaints)


def test_a_file_under_two_names_is_read_once(place: Place) -> None:
    """As when it is renamed between being listed and being opened."""
    place.file.with_name("audit.jsonl.1").hardlink_to(place.put("audit.jsonl", message("1")))
    assert place.ids("--queue-id", "1") == ["1"]


def test_a_line_that_is_being_written_is_waited_for(place: Place) -> None:
    """The size is taken under the writers' lock: what is added later is not read, whole or not."""
    place.put("audit.jsonl", message("1"), message("2"))
    found = []
    search = Search(place.file, pytest.fail)
    for record in search.run(Criteria()):
        found.append(record["queue_id"])
        with place.file.open("ab") as writer:
            writer.write(b'{"half')
    assert found == ["1", "2"]


def test_nothing_is_held_while_searching(place: Place) -> None:
    place.put("audit.jsonl", message("1"))
    lock_file(place.file).touch(mode=0o600)
    for _ in Search(place.file, pytest.fail).run(Criteria()):
        with AuditLock(place.file).held(), place.file.open("rb") as writer:
            fcntl.flock(writer, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_writer_that_is_stopped_in_mid_line_does_not_stop_the_search(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading_module, "_LOCK_SECONDS", 0.01)
    place.put("audit.jsonl", message("1"))
    with AuditLock(place.file).held():
        assert place.ids("--queue-id", "1") == ["1"]


# -- gaps ---------------------------------------------------------------------------------------

GAPS = {
    "torn": b'{"format":1,"time":"2026-11-22T1\n',
    "foreign": b"Nov 22 12:00:00 mta postfix: hello\n",
    "json": b'{"queue_id":"1"}\n',
    "list": b"[1,2]\n",
    "octets": b"\xff\xfe\0\n",
    "empty": b"\n",
    "deep": b"[" * 100_000 + b"\n",
}


@pytest.mark.parametrize("gap", GAPS)
def test_a_line_that_is_no_record_is_named_and_does_not_stop_the_search(place: Place, gap: str) -> None:
    place.file.write_bytes(line(message("1")) + GAPS[gap] + line(message("1", 1)))
    assert place.ids("--queue-id", "1", status=1) == ["1", "1"]
    assert f"{place.file}: line 2 is no record" in place.error
    assert place.error.splitlines()[-1].startswith("ldapmilter: THIS ANSWER MAY BE INCOMPLETE")


def test_a_torn_last_line_is_named(place: Place) -> None:
    place.file.write_bytes(line(message("1")) + line(message("1"))[:-1])
    assert place.ids("--queue-id", "1", status=1) == ["1"]
    assert "line 2 is no record" in place.error


def test_a_compressed_file_that_ends_early_is_named(place: Place) -> None:
    records = [message(str(number)) for number in range(2000)]
    place.put("audit.jsonl.2.gz", *records, pack=lambda octets: gzip.compress(octets)[:-2000])
    place.put("audit.jsonl", message("1", 1))
    assert place.ids("--queue-id", "1", status=1) == ["1", "1"]
    assert re.search(r"audit\.jsonl\.2\.gz: cannot be read on after line [0-9]+: ", place.error)
    assert place.error.count("audit.jsonl.2.gz") == 1


def test_a_file_that_cannot_be_read_is_named_and_the_others_are_read(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbidden = place.put("audit.jsonl.1", message("1"))
    place.put("audit.jsonl", message("1", 1))
    open_file = os.open

    def opened(path: Any, *rest: Any, **more: Any) -> int:
        if Path(path) == forbidden:
            raise PermissionError(13, "Permission denied")
        return open_file(path, *rest, **more)

    monkeypatch.setattr(os, "open", opened)
    assert place.ids("--queue-id", "1", status=1) == ["1"]
    assert f"{forbidden}: cannot be read: Permission denied" in place.error
    assert place.error.count("Permission denied") == 1


def test_zstd_is_told_apart_from_nonsense(place: Place) -> None:
    place.put("audit.jsonl.1.zst", pack=lambda _: b"\x28\xb5\x2f\xfd...")
    place.put("audit.jsonl", message("1"))
    assert place.ids("--queue-id", "1", status=1) == ["1"]
    assert "audit.jsonl.1.zst: cannot be read: it is compressed by zstd; decompress it" in place.error


@pytest.mark.parametrize("kind", ["directory", "fifo"])
def test_what_is_no_file_is_named(place: Place, kind: str) -> None:
    place.put("audit.jsonl", message("1"))
    odd = place.file.with_name("audit.jsonl.old")
    odd.mkdir() if kind == "directory" else os.mkfifo(odd)
    assert place.ids("--queue-id", "1", status=1) == ["1"]
    assert str(odd) in place.error


def test_a_file_beside_its_compressed_form_is_named(place: Place) -> None:
    place.put("audit.jsonl.1", message("1"))
    place.put("audit.jsonl.1.gz", message("1"), pack=gzip.compress)
    assert place.ids("--queue-id", "1", status=1) == ["1", "1"]
    assert "audit.jsonl.1 is there as well" in place.error


def test_an_over_long_line_is_not_held_in_memory(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ldapmilter.audit.search.MAX_LINE_BYTES", 4096)
    place.file.write_bytes(line(message("1")) + b"x" * 10_000 + b"\n" + line(message("1")))
    assert place.ids("--queue-id", "1", status=1) == ["1", "1"]
    assert "is no record" in place.error


# -- what it says -------------------------------------------------------------------------------


def test_nothing_found_says_what_was_read(place: Place) -> None:
    place.put("audit.jsonl.1", message("1"))
    place.put("audit.jsonl", message("2", 1), message("3", 2))
    assert place.find("--queue-id", "none", status=1) == ""
    assert place.error == (
        "ldapmilter: nothing found: 2 files read, 3 records from 2026-11-22T12:00:00.123Z to 2026-11-24T12:00:00.123Z\n"
    )


def test_an_empty_audit_is_no_error_but_nothing_either(place: Place) -> None:
    place.file.touch()
    place.find("--queue-id", "1", status=1)
    assert place.error == "ldapmilter: nothing found: 1 file read, without any record\n"


def test_no_audit_file_at_all(place: Place) -> None:
    place.find("--queue-id", "1", status=1)
    assert place.error == f"ldapmilter: {place.file}: there is no audit file, and no rotated one beside it\n"


def test_no_directory(place: Place) -> None:
    place.config.write_text("[ldap]\nuri = ldif:x\n[audit]\nfile = /nonexistent/a.jsonl\n", encoding="ascii")
    place.find("--queue-id", "1", status=1)
    assert place.error == (
        "ldapmilter: /nonexistent: the directory of the audit file cannot be read: No such file or directory\n"
    )


def test_an_audit_that_is_switched_off(place: Place) -> None:
    place.config.write_text("[ldap]\nuri = ldif:x\n[audit]\nfile =\n", encoding="ascii")
    place.find("--queue-id", "1", status=2)
    assert "[audit] file is empty: no audit is kept" in place.error


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ([], "--message-id, --queue-id, --address or --day"),
        (["--json"], "--message-id"),
        (["--day", "22.11.2026"], "not a day such as"),
        (["--day", "20261122"], "not a day such as"),
        (["--day", "2026-02-30"], "not a day such as"),
        (["--address", "ann"], "'ann' has no domain: no mail address"),
        (["--address", ""], "'' is empty"),
        (["--address", "ann@example.test,bob@example.test"], "is not one mail address"),
        (["--queue-id", " "], "is empty"),
        (["--message-id", "<>"], "is empty"),
        (["--queue", "1"], "did you mean --queue-id?"),
    ],
)
def test_wrong_usage(place: Place, arguments: list[str], word: str) -> None:
    place.put("audit.jsonl", message("1"))
    place.find(*arguments, status=2)
    assert word in place.error


def test_what_a_compliance_officer_reads(place: Place) -> None:
    decision = Decision(
        identity=ANN, from_change=FULL.from_change, copies=FULL.copies, header_changes=FULL.header_changes
    )
    place.put("audit.jsonl", recorded(decision))
    assert place.find("--queue-id", "4XyZ") == (
        "2026-11-22T12:00:00.123Z  queue id 4XyZ  on mta1.example.test\n"
        "  message id  <one@example.test>\n"
        "  sent by     ann@example.test (logged in as Ann, uid=ann,ou=people,dc=example,dc=test)\n"
        "  mail from   <ann@example.test> from client 192.0.2.1\n"
        "  to          joe@x.test\n"
        "  to          team@example.test\n"
        "  verdict     accept\n"
        "  From        Ann <ann@example.test> -> Legal <legal@example.test> (rewrite)\n"
        "                because ldapMilterSenderFromRewrite: x.test => Legal <legal@example.test>"
        "   [cos cn=sales,cn=cos,cn=zimbra] for bob@example.test through team@example.test > sub@example.test\n"
        "  header      Reply-To: ann@example.test\n"
        "                because ldapMilterSenderFromRewrite: x.test => Legal <legal@example.test>"
        "   [cos cn=sales,cn=cos,cn=zimbra] for bob@example.test through team@example.test > sub@example.test\n"
        "  header      X-Old: (removed)\n"
        "  copy to     hold@counsel.test (legal)\n"
        "                because received: ldapMilterLegalBcc: hold@counsel.test ref=case-7"
        "   [cos cn=sales,cn=cos,cn=zimbra] for bob@example.test through team@example.test > sub@example.test,"
        " ref case-7\n"
        "\n"
        "1 record found: 1 file read, 1 record from 2026-11-22T12:00:00.123Z to 2026-11-22T12:00:00.123Z\n"
    )


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (message("1", probe=True), ["PROBE"]),
        (
            taken_back(message("1", decision=FULL), time=NOON + DAY),
            [
                "2026-11-23T12:00:00.123Z  queue id 1",
                "TAKES BACK  the record of 2026-11-22T12:00:00.123Z with this queue id",
                "tempfail: 451 4.3.0",
                "no change or copy below was made",
            ],
        ),
        (message("1", message_ids=None), ["message id  (not known)", "sent by     no login"]),
        (
            message("1", decision=Decision(identity=ANN, verdict="tempfail", smtp_reply="451 4.3.0 later")),
            ["tempfail: 451 4.3.0 later (the message was deferred", "no change or copy below was made"],
        ),
        (
            message("1", decision=FULL),
            ["reject: 550 5.7.1 not yours (the message was refused", "no change or copy below"],
        ),
        (message("1", decision=FULL), ["refused     From boss@example.test was not theirs", "warning     a broken"]),
        (message("1", decision=FULL), ["INCOMPLETE  no answer", "STALE", "From        (not read) -> Legal"]),
        (
            message(
                "1",
                decision=Decision(
                    identity=ANN,
                    mode="observe",
                    verdict="tempfail",
                    verdict_mode="observe",
                    copies=(copy("a@b.test", "legal", mode="observe"),),
                ),
            ),
            ["copy to     a@b.test (legal) [observe: would, was not applied]", "tempfail [observe: would", "mode  "],
        ),
    ],
)
def test_marks(place: Place, record: dict[str, Any], words: list[str]) -> None:
    place.put("audit.jsonl", record)
    text = place.find("--address", "x@else.test")
    for word in words:
        assert word in text


def test_nothing_in_a_message_steers_the_terminal(place: Place) -> None:
    bad = "\x1b[2Jx\r\n  copy to     forged@x.test\u202e\u2028\udce9"
    place.put("audit.jsonl", message("1", message_ids=(bad,), envelope=Envelope(login=bad, recipients=(bad,))))
    text = place.find("--queue-id", "1")
    assert all(character.isprintable() or character == "\n" for character in text)
    assert "\n  copy to" not in text


def test_json_is_one_record_a_line(place: Place) -> None:
    records = [message("1", decision=FULL), message("1", 1)]
    place.put("audit.jsonl", *records)
    assert [json.loads(text) for text in place.find("--queue-id", "1", "--json").splitlines()] == records
    assert place.error == ""
