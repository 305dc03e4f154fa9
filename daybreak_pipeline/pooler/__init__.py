"""PgBouncer, for the clients of applications: its configuration, list of users and certificate, and its process beside the
embedded server. What has to hold through any pooler belongs to ``database``.
"""
