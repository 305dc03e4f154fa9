"""The web UI in its own process: Dagster's web application and the report, behind a guard. No assets and no runs.

``server`` puts it together, ``guard`` stands before it, ``login`` knows who may use it, ``request_rules`` what may be asked.
"""
