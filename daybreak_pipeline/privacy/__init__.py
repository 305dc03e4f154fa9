"""Personal data: keys and their rotation, roles, the audit trail. The sealing itself happens in the database.

That is in schema ``privacy``, which migrations make.
"""
