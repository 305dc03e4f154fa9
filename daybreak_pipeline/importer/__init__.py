"""The import: find -> stage -> classify -> validate -> merge -> quarantine -> ledger.

Knows psycopg and SQL, never Dagster. PostgreSQL works on sets; Python moves bytes and decides. The way in is
``run.import_table``.
"""

# Scripts outside the project ask here for what the catalog says of a table.
from daybreak_pipeline.schema import catalog as catalog
