"""What is written about ldapmilter agrees with it."""
