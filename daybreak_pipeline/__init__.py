"""Daybreak pipeline: exports in, a PostgreSQL database that people can trust out."""
