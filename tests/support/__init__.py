"""Real components for the tests: a slapd shaped like Zimbra's and a private Postfix.

Nothing here uses the code under test or its LDAP library: the directory is filled and
read with OpenLDAP's own tools, mail goes in through :mod:`smtplib` or a bare socket, so a
fault of the product cannot hide itself in the harness.
"""
