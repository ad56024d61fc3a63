"""What happens to a message: pure functions of an envelope and a directory."""
