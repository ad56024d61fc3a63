"""What Postfix is told of a copy (RFC 2033: one reply for each recipient).

It gets 250 for what its archive's server has accepted, or what lies in the Maildir, and for what has ended before, once
the audit has it on disk. It gets 451 otherwise, with one of four fixed texts: what a server says may name addresses,
and is for the audit alone.
"""

from __future__ import annotations

from typing import Final

DONE: Final = "250 2.0.0 settled"
LATER: Final = "451 4.4.1 the server of this copy does not take it now"
BUSY: Final = "451 4.3.2 the relay is busy with this copy, or with others"
UNKNOWN: Final = "451 4.3.0 this copy is not known here yet"
NO_RECORD: Final = "451 4.3.0 what becomes of this copy cannot be recorded now"
