"""What a directory is asked and answers: searches, filters, entries; and the one that is read from a file."""
