"""Exports on object storages, with a real S3 service (moto) and, between it and the project, a proxy that breaks things."""
