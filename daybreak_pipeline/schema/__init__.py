"""The database schema: migrations as pairs of SQL files, and what runs them."""
