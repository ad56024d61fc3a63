"""Answers of the directory, kept: entries by key, single flight, and what is derived from them."""
