"""What a slapd has to be told before policy can stand in it: schema, access rules, one identity.

Schema and access rules live in ``cn=config``, which is not replicated: every LDAP server needs them.
"""
