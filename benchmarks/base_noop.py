"""The second yardstick: a milter on ``Milter.Base`` that does nothing.

    python benchmarks/base_noop.py SOCKET

As the first one (native/noop.c eom) it asks for the end of the message and for nothing else.
"""

import sys

import Milter


class Noop(Milter.Base):
    def eom(self):  # noqa: ANN201 - as pymilter's own examples write it
        return Milter.CONTINUE


if __name__ == "__main__":
    Milter.factory = Noop
    Milter.runmilter("noop", sys.argv[1], 30)
