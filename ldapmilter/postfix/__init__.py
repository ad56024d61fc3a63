"""What Postfix makes of addresses, and how it is configured on this host."""
