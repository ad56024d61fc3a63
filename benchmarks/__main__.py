"""``scripts/bench``: everything that is measured, on one machine, in one run, as Markdown."""

from __future__ import annotations

import argparse
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path

from benchmarks import (
    company,
    directory,
    growth,
    memory,
    native_tools,
    protocol,
    through_postfix,
    through_relay,
    verbs,
    where_time_goes,
)
from benchmarks.native_tools import WrongAnswerError
from benchmarks.report import Report
from tests.support.slapd import Slapd

PARTS = ("protocol", "postfix", "relay", "directory", "growth", "memory", "profile", "verbs")


def main() -> int:
    """Run what was asked for; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Measure what ldapmilter costs, against milters that do nothing and Postfix's own bcc maps.",
    )
    parser.add_argument("--quick", action="store_true", help="about two minutes: fewer cells, shorter turns, less data")
    parser.add_argument("--only", action="append", choices=PARTS, help="this part only; may be given several times")
    parser.add_argument("--output", type=Path, help="write the Markdown to this file, too")
    parser.add_argument(
        "--against",
        type=Path,
        metavar="TREE",
        help="postfix alone, and the ldapmilter of that tree in the same rounds: what a change brought",
    )
    options = parser.parse_args()
    report = Report()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that everything that was started ends, too
    try:
        parts = ("postfix",) if options.against else options.only or PARTS
        run(report, parts, quick=options.quick, against=options.against)
    except WrongAnswerError as error:
        print(f"scripts/bench: {error}", file=sys.stderr)
        return 1
    finally:
        if options.output:
            options.output.write_text(report.text(), encoding="utf-8")
    return 0


def run(report: Report, parts: tuple[str, ...], *, quick: bool, against: Path | None = None) -> None:
    """Measure; every part starts what it needs and ends it again."""
    began = time.monotonic()
    report.say(described(quick=quick))
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # Postfix passes through it
        programs = native_tools.build(folder)
        if "protocol" in parts:
            seconds, rounds = (0.25, 3) if quick else (0.5, 5)
            with (
                Slapd(company.records()) as slapd,
                protocol.bench(slapd, programs, folder, seconds=seconds, rounds=rounds) as one,
            ):
                protocol.measure(one, report, quick=quick)
        if "postfix" in parts:
            seconds, rounds = (0.4, 3) if quick else (2.0, 5)
            with Slapd(company.records()) as slapd:
                through_postfix.measure(
                    slapd, programs, folder, report, seconds=seconds, rounds=rounds, against=against
                )
        if "memory" in parts:
            addresses, further = (5_000, 10_000) if quick else (50_000, 300_000)
            memory.measure(programs, folder, report, addresses=addresses, further=further)
    if "relay" in parts:
        copies, rounds = (200, 3) if quick else (1000, 7)
        through_relay.measure(report, messages=copies, rounds=rounds)
    if "directory" in parts:
        accounts, members = (5_000, 1_000) if quick else (100_000, 10_000)
        directory.measure(report, accounts=accounts, members=members)
    if "growth" in parts:
        growth.measure(report, quick=quick)
    if "profile" in parts:
        with Slapd(company.records()) as slapd:
            where_time_goes.measure(slapd, report, repeat=3 if quick else 10)
    if "verbs" in parts:
        with Slapd(company.records()) as slapd:
            verbs.measure(slapd, report, rounds=5 if quick else 15)
    report.say(f"The run took {time.monotonic() - began:.0f} s.")


def described(*, quick: bool) -> str:
    """Return when and where this is measured, in words."""
    gibibytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    model = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    system = re.search(r'^PRETTY_NAME="?([^"\n]*)', Path("/etc/os-release").read_text(encoding="utf-8"), re.MULTILINE)
    packages = ("postfix", "slapd", "libmilter1.0.1")
    versions = [f"{package} {_version(package)}" for package in packages]
    return (
        f"{'A quick run' if quick else 'A full run'} on {datetime.now(timezone.utc):%Y-%m-%d}:"
        f" {os.cpu_count()} cores ({model[1].strip() if model else platform.machine()}), {gibibytes:.0f} GiB of memory,"
        f" {system[1] if system else platform.system()}, Python {platform.python_version()}, {', '.join(versions)}."
        f" Load average at the start: {os.getloadavg()[0]:.1f}."
    )


def _version(package: str) -> str:
    done = subprocess.run(
        ["dpkg-query", "-W", "-f=${Version}", package], check=False, capture_output=True, text=True, timeout=30
    )
    return done.stdout or "of unknown version"


if __name__ == "__main__":
    sys.exit(main())
