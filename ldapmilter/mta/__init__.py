"""The other end of the wire: an MTA that speaks the milter protocol, for ``probe``, tests and benchmarks."""
