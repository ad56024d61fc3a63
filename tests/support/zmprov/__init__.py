"""A stand-in for `zmprov`: Zimbra's provisioning command on a real slapd.

Zimbra itself cannot be installed for a test.  What a guide or a script relies on can be kept
true to it: how an object is named, what plain, `+` and `-` attributes do, which values are
refused by whom, what is printed, and the exit status (0 done, 1 usage, 2 a service error).
Servers and password come from `conf/localconfig.xml`, as Zimbra's own do.

It knows the commands of the table in `commands.py` and no others, and talks LDAP whether or
not `-l` is given; what Zimbra does by SOAP alone (`fc`) is refused with `-l` as there.
"""
