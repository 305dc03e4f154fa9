"""Data quality: what is checked of every table (``rules``), and the SQL that does it. How Dagster shows it, does not belong here
(``orchestration.asset_checks``).
"""
