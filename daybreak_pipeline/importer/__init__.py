"""The import: find -> stage -> classify -> validate -> merge -> quarantine -> ledger.

Knows psycopg and SQL, never Dagster. PostgreSQL works on sets; Python moves bytes and decides. The way in is
``run.import_table``.
"""
