"""Data quality: what is checked on every table (``rules``), and how Dagster shows it (``definitions``)."""
