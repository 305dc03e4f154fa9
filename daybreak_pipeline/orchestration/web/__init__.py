"""The web UI in its own process: Dagster's web application and the report, behind a guard. No assets and no runs.

``server`` assembles it, ``guard`` protects it, ``login`` decides who may use it, and ``request_rules`` which requests
are allowed.
"""
