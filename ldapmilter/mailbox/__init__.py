"""RFC 5322 mailboxes in header fields: reading them as they come, writing them as they should be."""
