"""The database schema: migrations as pairs of SQL files, what runs them, and what the catalog says of a table (``catalog``). No
knowledge of files.
"""
