"""What every verb's exit status means."""

FINE = 0
PROBLEM = 1
USAGE = 2
"""Wrong usage, or a configuration that cannot be used."""
DIRECTORY_UNAVAILABLE = 3
DAEMON_UNREACHABLE = 4
