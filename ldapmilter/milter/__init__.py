"""The milter protocol: callbacks in, modifications out; no policy in here.

``session`` and ``effects`` are the milter; ``client`` and the modules below it are the other end of
the wire, for ``probe``, tests and benchmarks.
"""
