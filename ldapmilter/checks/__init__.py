"""What can be wrong around the milter, one module per area; ``ldapmilter check`` runs them all.

Nothing here decides about mail. Every module looks at one thing as it is (a server, Postfix's
configuration, the values in the directory) and reports what it found, and what it looked at and found
in order: "nothing to say" and "not looked at" are different answers.
"""
