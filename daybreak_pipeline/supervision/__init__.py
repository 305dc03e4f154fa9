"""Keeps ``daybreak up`` running: one of it for each home, its processes started again when they die, systemd's units.

``supervisor`` decides what to start again and when to give up; ``child`` and ``embedded`` know how.
What the processes do belongs elsewhere.
"""
