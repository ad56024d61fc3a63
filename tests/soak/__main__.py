"""``scripts/soak``: run it and say what came of it; exit status 0 when nothing is wrong, else 1."""

from __future__ import annotations

import argparse
import os
import random
import sys

from tests.soak.run import LATE, MEMBERS, Soak

_SHOWN = 40
_USAGE = 2
_LEAST = 10
_INTERRUPTED = 130


def _minutes(text: str) -> float:
    minutes = float(text)
    if not 0 < minutes <= 24 * 60:
        raise argparse.ArgumentTypeError("more than 0 and at most 1440 minutes")
    return minutes


def main() -> int:
    """Run the soak of the command line."""
    parser = argparse.ArgumentParser(prog="scripts/soak", description=__doc__, allow_abbrev=False)
    parser.add_argument("--minutes", type=_minutes, default=20.0, help="how long trouble lasts (default: %(default)g)")
    parser.add_argument("--seed", type=int, default=None, help="what draws it; the table tells the seed of a run")
    parser.add_argument("--members", type=int, default=MEMBERS, help="of the list of everybody (default: %(default)d)")
    parser.add_argument(
        "--late", type=float, default=LATE, help="seconds after which an answer is a failure (default: %(default)g)"
    )
    options = parser.parse_args()
    if options.members < _LEAST:
        parser.error(f"--members: at least {_LEAST}")
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1_000_000)
    sys.stdout.write(f"soaking for {options.minutes:g} minutes, --seed {seed}\n")
    sys.stdout.flush()
    if os.geteuid() != 0:
        sys.stderr.write("scripts/soak: needs root, as Postfix does\n")
        return _USAGE
    try:
        soak = Soak(seconds=options.minutes * 60, seed=seed, members=options.members, late=options.late)
        outcome = soak.run()
    except KeyboardInterrupt:
        sys.stderr.write("scripts/soak: interrupted, no verdict\n")
        return _INTERRUPTED
    width = max(map(len, outcome.table))
    sys.stdout.write("\n" + "".join(f"{name:{width}}  {value}\n" for name, value in outcome.table.items()))
    for finding in outcome.findings[:_SHOWN]:
        sys.stdout.write(f"WRONG  {finding}\n")
    if len(outcome.findings) > _SHOWN:
        sys.stdout.write(f"WRONG  and {len(outcome.findings) - _SHOWN} more\n")
    sys.stdout.write(f"\nverdict: {'FAILED' if outcome.findings else 'passed'}\n")
    return 1 if outcome.findings else 0


if __name__ == "__main__":
    sys.exit(main())
