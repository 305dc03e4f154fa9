"""The database schema: migrations as pairs of SQL files, what runs them, what the catalog says of a table (``catalog``), and what
enforces references without a foreign key (``references``). No knowledge of files.
"""
