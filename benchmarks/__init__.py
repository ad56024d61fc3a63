"""What ldapmilter costs, measured against yardsticks that are built here: see README.md."""
