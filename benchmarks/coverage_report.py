"""What ``ldapmilter coverage`` costs over a large directory: seconds, peak memory, size of the reports.

    python benchmarks/coverage_report.py [--accounts N]

Builds directories of N/10 and of N accounts in a real slapd, twenty COSes, one of which gives each
of its accounts an archive mailbox of their own, one account in ten with values of its own, one
policy group of 1,000 members. Needs what the tests need; touches nothing outside temporary
directories.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.support import slapd as slapd_module
from tests.support.builders import account, cos, domain, global_config, static_list
from tests.support.names import zimbra_id
from tests.support.slapd import Slapd
from tests.support.zimbra_base import base_records

if TYPE_CHECKING:
    from tests.support.record import Record

COSES = 20
DOMAINS = 5
OWN_POLICY = 10
MEMBERS = 1000
_LOAD_LIMIT = 900.0


def records(accounts: int) -> list[Record]:
    coses = [zimbra_id("cos", f"c{number}") for number in range(COSES)]
    people = [f"user{number}@d{number % DOMAINS}.test" for number in range(accounts)]
    found = [
        *base_records(),
        *global_config(zimbraDefaultDomainName="d0.test"),
        *cos("c0", ldapMilterArchiveBcc="{localpart}@{domain}.archive.invalid"),
        *(one for n in range(1, COSES - 1) for one in cos(f"c{n}", ldapMilterArchiveBcc=f"c{n}@vault.invalid")),
        *cos(f"c{COSES - 1}"),
        *(one for n in range(DOMAINS - 1) for one in domain(f"d{n}.test", ldapMilterLegalBcc="hold@legal.invalid")),
        *domain(f"d{DOMAINS - 1}.test"),
        *static_list(
            "audit@d0.test",
            people[:MEMBERS],
            ldapMilterAppliesToMembers="TRUE",
            ldapMilterLegalBcc="audit@legal.invalid",
        ),
    ]
    for number, person in enumerate(people):
        own = f"own{number}@vault.invalid until=2020-01-31" if number % OWN_POLICY == 0 else None
        found += account(person, cos_id=coses[number % COSES], displayName=f"User {number}", ldapMilterArchiveBcc=own)
    return found


def high_water(pid: int) -> int:
    """Return the peak resident size of a process in KiB, 0 when it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")), 0)


def measure(config: Path, folder: Path, name: str, *options: str) -> None:
    out = folder / name
    began = time.perf_counter()
    command = [sys.executable, "-m", "ldapmilter", "--config", str(config), "coverage", *options]
    peak = 0
    with out.open("wb") as stdout, subprocess.Popen(command, stdout=stdout) as process:
        while process.poll() is None:
            # Not ru_maxrss: that begins at the size of this process, from which the other one is forked.
            peak = max(peak, high_water(process.pid))
            time.sleep(0.05)
    seconds = time.perf_counter() - began
    written = folder / "report.html" if "--html" in options else out
    print(
        f"  {name:6}: {seconds:6.1f} s, peak memory {peak / 1024:.0f} MiB,"
        f" {written.stat().st_size / 1e6:.1f} MB, exit {process.returncode}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accounts", type=int, default=100_000, help="default: %(default)s")
    parser.add_argument("--keep", type=Path, help="a directory to leave the pages in")
    arguments = parser.parse_args()
    slapd_module._LIMIT = _LOAD_LIMIT  # noqa: SLF001 - far more than any test loads
    for accounts in (arguments.accounts // 10, arguments.accounts):
        began = time.perf_counter()
        with Slapd(records(accounts)) as slapd, tempfile.TemporaryDirectory() as made:
            print(f"{accounts:,} accounts loaded in {time.perf_counter() - began:.1f} s")
            folder = Path(made)
            secret, config = folder / "secret", folder / "config.ini"
            secret.write_text(slapd.password, encoding="utf-8")
            secret.chmod(0o600)
            config.write_text(
                f"[ldap]\nuri = {slapd.uri}\nstarttls = no\nbind_dn = {slapd.bind_dn}\nbind_password_file = {secret}\n",
                encoding="utf-8",
            )
            page = folder / "report.html"
            measure(config, folder, "table")
            measure(config, folder, "csv", "--csv")
            measure(config, folder, "json", "--json")
            measure(config, folder, "html", "--html", str(page))
            if arguments.keep is not None:
                page.replace(arguments.keep / f"{accounts}.html")


if __name__ == "__main__":
    main()
