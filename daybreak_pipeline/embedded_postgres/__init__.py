"""The embedded PostgreSQL server: its programs, its data directory, its process. Knows nothing of tables or imports."""
