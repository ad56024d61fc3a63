"""A process that appends to an audit file from several threads, as a worker of the daemon does.

``python -m tests.support.audit_writer FILE NAME THREADS DURABLE``: writes lines until its standard
input ends, reopens the file on SIGHUP, then prints how many lines each thread wrote, as JSON.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
from pathlib import Path

from ldapmilter.audit.file import AuditFile
from tests.unit.audit.example import recorded

_FILLER = "x" * 400
_PAUSE_SECONDS = 0.002
"""Between two lines of a thread: a file that is rotated slowly must not become a matter of gigabytes."""


def main() -> None:
    """Write until told to stop."""
    path, name, threads, durable = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4] == "durable"
    audit = AuditFile(path)
    signal.signal(signal.SIGHUP, lambda *_: threading.Thread(target=audit.open).start())
    stop = threading.Event()
    written = [0] * threads

    def write(thread: int) -> None:
        while not stop.wait(_PAUSE_SECONDS):
            number = written[thread]
            record = recorded(queue_id=f"{name}-{thread}-{number}", message_ids=(_FILLER * (number % 20),))
            audit.write(record, durable=durable)
            written[thread] += 1

    running = [threading.Thread(target=write, args=(thread,)) for thread in range(threads)]
    for thread in running:
        thread.start()
    sys.stdout.write("writing\n")
    sys.stdout.flush()
    sys.stdin.read()
    stop.set()
    for thread in running:
        thread.join()
    audit.close()
    sys.stdout.write(json.dumps(written))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
