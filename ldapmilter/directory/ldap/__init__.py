"""The LDAP client: ldap3 behind one search, over an ordered list of servers."""
