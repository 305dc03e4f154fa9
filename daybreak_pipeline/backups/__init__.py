"""Backups of the embedded server: making them, restoring them, proving that they can be restored.

pgBackRest does the work; how it is configured for the server belongs to ``embedded_postgres.archiving``.
"""
