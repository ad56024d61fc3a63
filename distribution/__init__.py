"""Makes what is handed out: wheels, the off-line bundle, the .deb and the .rpm. `scripts/package` calls it."""
