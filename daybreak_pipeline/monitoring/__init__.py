"""Is the server healthy, and how long will it last: what is measured, kept, judged and passed on. Independent of Dagster.

``metrics`` declares every number, ``measure`` reads them from the server, ``surroundings`` what SQL does not see, ``history``
keeps them and computes trends, ``thresholds`` judges, ``survey`` does all of that in one look, ``exposition`` writes
Prometheus' format. Numbers and names only: never a value of a record or a literal of a statement.
"""
