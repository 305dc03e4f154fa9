"""What a person who runs the pipeline asks for: status, notifications, changed files, dry runs, the history of a row. No
Dagster, and nothing that changes data by itself.
"""
