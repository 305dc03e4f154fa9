"""What the numbers of an asset check are called on its page, for people; programs find them by these names too.

Dagster lists them by the alphabet.
"""

from __future__ import annotations

FAILING = "failing"
LOOKED_AT = "looked at"
SHARE = "failing, in percent"
SEVERITY = "severity"
KINDS = "failing, by kind"
FIRST_ROWS = "failing, the first rows"
SQL = "failing, all rows by SQL"
RECORDS = "failing, records in their files"
OWNER = "owner"
WHAT_TO_DO = "what to do"
ACCEPTED = "accepted"
"""Who accepted what was found. Dagster has no grey: an accepted check passes."""
ACCEPT = "accept or reopen"
"""Where the web UI has the form for it."""
