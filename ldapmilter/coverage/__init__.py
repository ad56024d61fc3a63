"""Who in the whole directory is copied where and why, and who is not: collected, counted, written out."""
