"""All that imports Dagster: assets, checks, jobs, schedules, sensors, runs, the web server. Declares and delegates; no SQL
of an import and no rule of a check.
"""
