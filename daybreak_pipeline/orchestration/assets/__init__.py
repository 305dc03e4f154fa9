"""The assets: 16 source files, and the 16 tables they fill."""
