"""Tests of what keeps ``daybreak up`` running. With the real processes: ``test_killed``."""
