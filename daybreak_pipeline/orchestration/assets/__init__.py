"""The assets: 16 source files, the 16 tables that they fill, and the report. No schedules and no runs."""
