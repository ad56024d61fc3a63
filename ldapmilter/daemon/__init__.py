"""The long-running service around the milter."""
