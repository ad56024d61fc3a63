"""Zimbra's directory: what an address is, what applies to it, who is on a list."""
