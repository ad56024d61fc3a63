"""The demonstration: sample messages through the real milter socket, each effect checked and explained."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LDAPMILTER = [sys.executable, "-m", "ldapmilter"]
START_SECONDS = 15
MAX_ROOT = 70
LEGAL_FROM = "Legal Dept. <legal@example.com>"


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One message and what has to become of it."""

    title: str
    sender: tuple[str, ...]
    recipients: tuple[str, ...]
    from_before: str
    from_after: str | None = None
    """``None``: the From stays."""
    copies: tuple[str, ...] = ()


def ann(title: str, *recipients: str, legal: bool, also: tuple[str, ...] = ()) -> Sample:
    """Return a message of Ann's, whose domain has a rule for specialcompany.com."""
    return Sample(
        title=title,
        sender=("--auth", "ann@example.com"),
        recipients=recipients,
        from_before="Ann Able <ann@example.com>",
        from_after=LEGAL_FROM if legal else None,
        copies=(*also, "legal@example.com") if legal else also,
    )


SAMPLES = (
    ann("The classic case: a user of example.com writes to specialcompany.com", "joe@specialcompany.com", legal=True),
    ann("The same in capitals", "Joe@SPECIALCOMPANY.COM", legal=True),
    ann("Near miss: another domain that ends alike", "joe@notspecialcompany.com", legal=False),
    ann("Near miss: the name inside a longer domain", "joe@specialcompany.com.evil.net", legal=False),
    ann(
        "To a list: one member is a partner, another one, on a list inside it, is archived",
        "partners@example.com",
        legal=True,
        also=("bob@archive.example.com",),
    ),
    Sample(
        title="An alias in an alias domain logs in; the COS archives by a template",
        sender=("--auth", "BOB@example.net"),
        recipients=("someone@elsewhere.test",),
        from_before="bob@example.com",
        copies=("bob@archive.example.com",),
    ),
    Sample(
        title="A recipient who wants to be written to by the desk",
        sender=("--auth", "ann@example.com"),
        recipients=("eve@example.com",),
        from_before="Ann Able <ann@example.com>",
        from_after="Service Desk <desk@example.com>",
    ),
    Sample(
        title="An outsider forges Ann's addresses: no login, so no policy of hers",
        sender=("--mail-from", "ann@example.com"),
        recipients=("joe@specialcompany.com",),
        from_before="Ann Able <ann@example.com>",
    ),
    Sample(
        title="The answer from outside: Bob's archive gets it, and so does legal; the From of others is never touched",
        sender=("--mail-from", "joe@specialcompany.com"),
        recipients=("bob@example.com",),
        from_before="Joe <joe@specialcompany.com>",
        copies=("bob@archive.example.com", "legal@example.com"),
    ),
)


def ask(config: Path, verb: str, sample: Sample) -> dict[str, Any]:
    """Run a verb on a sample and return its JSON."""
    arguments = [*sample.sender, "--rcpt", *sample.recipients, "--from", sample.from_before, "--json"]
    done = subprocess.run(
        [*LDAPMILTER, "--config", str(config), verb, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if not done.stdout:
        sys.exit(f"ldapmilter {verb} failed: {done.stderr}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def show(number: int, sample: Sample, probed: dict[str, Any], explained: dict[str, Any]) -> list[str]:
    """Print what came in, what changed and why; return what is not as expected."""
    copies = [copy["address"] for copy in probed["copies"]]
    print(f"\n{number}. {sample.title}")
    print(f"   in       {' '.join(sample.sender)} -> {', '.join(sample.recipients)}")
    before, after = ", ".join(probed["from_before"]), ", ".join(probed["from_after"])
    print(f"   From     {before}" + (f"  =>  {after}" if after != before else "  (stays)"))
    print(f"   copies   {', '.join(copies) or 'none'}")
    reasons = [("From", reason) for reason in (explained["from"] or {}).get("reasons", [])]
    reasons += [(f"copy {copy['address']}", reason) for copy in explained["copies"] for reason in copy["reasons"]]
    for what, reason in reasons:
        path = f", through {' > '.join(reason['group_path'])}" if reason["group_path"] else ""
        print(f"   why      {what}: {reason['attribute']} on {reason['level']} {reason['dn']}{path}")
        print(f"              {reason['value']}")
    if not reasons:
        print(f"   why      no value applies (identity: {explained['identity']['source']})")
    wrong = []
    if after != (sample.from_after or sample.from_before):
        wrong.append(f"From should be {sample.from_after or sample.from_before!r}, is {after!r}")
    if copies != list(sample.copies):
        wrong.append(f"copies should be {list(sample.copies)}, are {copies}")
    if any(copy["parameters"] != ["NOTIFY=NEVER"] for copy in probed["copies"]):
        wrong.append("a copy without NOTIFY=NEVER")
    told = [copy["address"] for copy in explained["copies"]]
    value = (explained["from"] or {}).get("value")
    if told != copies or value != sample.from_after:
        wrong.append("explain tells another story than the milter")
    print("   RESULT   " + ("as expected" if not wrong else "WRONG: " + "; ".join(wrong)))
    return wrong


def wait_until_listening(daemon: subprocess.Popen[str], path: Path) -> None:
    """Wait for the socket, at most START_SECONDS."""
    deadline = time.monotonic() + START_SECONDS
    while not path.exists():
        if daemon.poll() is not None or time.monotonic() > deadline:
            sys.exit("the daemon did not start; its message is above")
        time.sleep(0.05)


def main() -> int:
    """Run the demonstration; 0 when every effect was the expected one."""
    # A unix socket's path may have 107 bytes only: a clone in a deep place uses the system's temporary directory.
    place = ROOT if len(str(ROOT)) < MAX_ROOT else None
    with tempfile.TemporaryDirectory(prefix=".demo-", dir=place) as directory:
        socket_path = Path(directory) / "milter.sock"
        config = Path(directory) / "config.ini"
        sample_directory = ROOT / "examples" / "directory.ldif"
        config.write_text(
            f"[milter]\nsocket = unix:{socket_path}\nsocket_group =\n\n[ldap]\nuri = ldif:{sample_directory}\n\n"
            f"[control]\nsocket = {directory}/control.sock\n\n[audit]\nfile = {directory}/audit.jsonl\n",
            encoding="utf-8",
        )
        log_path = Path(directory) / "log"
        print(f"directory: {sample_directory.relative_to(ROOT)}, a sample Zimbra; two attributes on example.com:")
        print(f"  ldapMilterSenderFromRewrite: specialcompany.com => {LEGAL_FROM}")
        print("  ldapMilterLegalBcc: legal@example.com with=specialcompany.com")
        with log_path.open("w+", encoding="utf-8") as log:
            daemon = subprocess.Popen([*LDAPMILTER, "--config", str(config), "run"], stderr=log, text=True)
            try:
                wait_until_listening(daemon, socket_path)
                wrong = [
                    problem
                    for number, sample in enumerate(SAMPLES, 1)
                    for problem in show(number, sample, ask(config, "probe", sample), ask(config, "explain", sample))
                ]
            finally:
                daemon.terminate()
                try:
                    daemon.wait(timeout=40)
                except subprocess.TimeoutExpired:
                    daemon.kill()
                    daemon.wait()
            print("\nthe daemon's log (what a mail log shows; it never names a legal copy):")
            log.seek(0)
            print("".join(f"   {line}" for line in log))
    print(
        f"{len(SAMPLES)} messages, {len(wrong)} not as expected; the daemon has ended with status {daemon.returncode}"
    )
    return 1 if wrong or daemon.returncode else 0


if __name__ == "__main__":
    sys.exit(main())
