"""The audit: what was done with each message and why, kept for years, and found again."""
