"""The audit file under several processes and threads: every line there once and whole, whatever happens to it."""

from __future__ import annotations

import grp
import gzip
import json
import os
import pwd
import re
import resource
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ldapmilter.audit.criteria import Criteria
from ldapmilter.audit.file import AuditFile
from ldapmilter.audit.record import is_record
from ldapmilter.audit.seals import is_event
from ldapmilter.audit.search import Search
from ldapmilter.errors import AuditError
from tests.support.ports import HANG, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Self

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "contrib" / "logrotate" / "ldapmilter"
LOGROTATE = "/usr/sbin/logrotate"
THREADS = 3


class Writers:
    """Several processes that write to one audit file."""

    def __init__(self, path: Path, names: str, *, durable: bool = False) -> None:
        """Start one process for each letter of ``names``."""
        self.processes: dict[str, subprocess.Popen[str]] = {}
        try:
            for name in names:
                self.processes[name] = subprocess.Popen(
                    [
                        *(sys.executable, "-m", "tests.support.audit_writer"),
                        *(str(path), name, str(THREADS), "durable" if durable else "not"),
                    ],
                    cwd=ROOT,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            for process in self.processes.values():
                assert process.stdout is not None
                assert process.stdout.readline() == "writing\n"
        except BaseException:
            self.__exit__()
            raise

    def hang_up(self) -> None:
        """Tell them that the file was rotated."""
        for process in self.processes.values():
            process.send_signal(signal.SIGHUP)

    def kill(self, name: str) -> None:
        """End one without notice."""
        process = self.processes.pop(name)
        process.kill()
        process.communicate(timeout=HANG)

    def finish(self) -> Counter[str]:
        """Let them end; return every queue id that was written."""
        expected: Counter[str] = Counter()
        for name, process in self.processes.items():
            out, error = process.communicate(timeout=HANG)
            assert process.returncode == 0, error
            assert not error, error
            for thread, count in enumerate(json.loads(out)):
                expected.update(f"{name}-{thread}-{number}" for number in range(count))
        assert len(expected) > THREADS * len(self.processes)
        return expected

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes.values():
            if process.poll() is None:
                process.kill()
            process.wait(HANG)
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    stream.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


def files(path: Path) -> list[Path]:
    return sorted(path.parent.glob("audit.jsonl*"))


def lines(path: Path) -> Iterator[bytes]:
    for file in files(path):
        octets = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        assert octets.endswith(b"\n") or not octets, file
        yield from (line for line in octets.splitlines() if not is_event(line))


def queue_ids(path: Path) -> Counter[str]:
    """Return the queue id of every line in every file; each line has to be a whole record."""
    found: Counter[str] = Counter()
    for line in lines(path):
        record = json.loads(line)
        assert is_record(record)
        found[record["queue_id"]] += 1
    return found


def grown(path: Path, octets: int = 200_000) -> None:
    wait_until(lambda: path.exists() and path.stat().st_size > octets, f"{path} grows")


@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize("told", [True, False])
def test_every_line_is_there_once_while_the_file_is_rotated(path: Path, *, durable: bool, told: bool) -> None:
    with Writers(path, "abc", durable=durable) as writers:
        for turn in range(4):
            grown(path, 20_000 if durable else 200_000)
            path.rename(path.with_name(f"audit.jsonl.{turn}"))
            if told:
                writers.hang_up()
        grown(path, 1)
        expected = writers.finish()
    assert queue_ids(path) == expected
    assert len(files(path)) == 5
    assert all(file.stat().st_mode & 0o7777 == 0o600 for file in files(path))


@pytest.mark.parametrize("names", ["dated", "numbered"])
def test_the_real_logrotate_with_the_configuration_as_shipped(path: Path, tmp_path: Path, names: str) -> None:
    with Writers(path, "abc") as writers:
        pids = " ".join(str(process.pid) for process in writers.processes.values())
        configuration = tmp_path / "logrotate.conf"
        configuration.write_text(adapted(path, f"kill -HUP {pids}", dated=names == "dated"), encoding="ascii")
        configuration.chmod(0o600)
        for turn in range(4):
            grown(path)
            subprocess.run(
                [LOGROTATE, "--force", "--state", tmp_path / "state", configuration],
                check=True,
                capture_output=True,
                timeout=HANG,
            )
            for today in path.parent.glob("audit.jsonl-????????"):
                if names == "dated":  # a day goes by
                    today.rename(path.with_name(f"audit.jsonl-2020010{turn + 1}"))
        expected = writers.finish()
    assert queue_ids(path) == expected
    suffixes = ["", "-20200101.gz", "-20200102.gz", "-20200103.gz", "-20200104"]
    if names == "numbered":
        suffixes = ["", ".1", ".2.gz", ".3.gz", ".4.gz"]
    assert [file.name for file in files(path)] == [f"audit.jsonl{suffix}" for suffix in suffixes]
    assert all(file.stat().st_mode & 0o7777 == 0o600 for file in files(path))
    search = Search(path, pytest.fail)
    assert Counter(record["queue_id"] for record in search.run(Criteria())) == expected
    assert search.files == 5


def adapted(path: Path, hang_up: str, *, dated: bool) -> str:
    """Return the shipped configuration for this place, this user and these processes."""
    user, group = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name
    text = SHIPPED.read_text(encoding="ascii")
    changes = {
        "/var/log/ldapmilter/audit.jsonl {": f"{path} {{",
        "su ldapmilter ldapmilter": f"su {user} {group}",
        "create 0600 ldapmilter ldapmilter": f"create 0600 {user} {group}",
        "systemctl reload ldapmilter.service": hang_up,
    }
    if not dated:
        changes["    dateext\n"] = ""
    for old, new in changes.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def test_the_shipped_configuration_keeps_what_the_law_may_want() -> None:
    text = re.sub(r"#.*", "", SHIPPED.read_text(encoding="ascii"))
    (count,) = re.findall(r"^\s*rotate (\d+)$", text, re.MULTILINE)
    assert int(count) >= 3650
    words = text.split()
    assert {"daily", "compress", "delaycompress", "missingok"} <= set(words)
    assert not {"copytruncate", "olddir", "extension", "maxage", "shred", "copy"} & set(words)


def test_a_killed_writer_harms_no_line_but_its_own(path: Path) -> None:
    with Writers(path, "abc") as writers:
        grown(path)
        writers.kill("a")
        grown(path, path.stat().st_size + 200_000)
        expected = writers.finish()
    found: Counter[str] = Counter()
    torn = 0
    for line in lines(path):
        try:
            found[json.loads(line)["queue_id"]] += 1
        except ValueError:
            torn += 1
    assert torn <= 1
    assert Counter({key: count for key, count in found.items() if not key.startswith("a")}) == expected


@pytest.fixture
def full(path: Path) -> Iterator[int]:
    """Let no file of this process grow beyond a size (RLIMIT_FSIZE): writes are cut short, then fail."""
    limit = 40_000
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.stat().st_size <= limit


def test_a_full_disk_leaves_whole_lines_and_needs_no_restart(path: Path, full: int) -> None:
    audit = AuditFile(path)
    written: Counter[str] = Counter()
    refused: list[AuditError] = []
    counting = threading.Lock()

    def write(thread: int) -> None:
        for number in range(100):
            queue_id = f"{thread}-{number}"
            try:
                audit.write({"queue_id": queue_id, "filler": "x" * (37 * thread)}, durable=number % 2 == 0)
            except AuditError as error:
                with counting:
                    refused.append(error)
            else:
                with counting:
                    written[queue_id] += 1

    threads = [threading.Thread(target=write, args=(thread,)) for thread in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert refused
    assert "raise the limit of the file size" in str(refused[0])
    assert Counter(json.loads(line)["queue_id"] for line in lines(path)) == written
    assert path.stat().st_size > full - 1000
    os.truncate(path, 0)  # room again
    audit.write({"queue_id": "again"}, durable=True)
    audit.close()
    assert [json.loads(line) for line in lines(path)] == [{"queue_id": "again"}]
