"""ldapmilter: archive copies, legal copies and From rewriting for Zimbra, driven by its LDAP directory."""

__version__ = "1.0.0"
