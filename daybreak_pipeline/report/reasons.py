"""What the reasons mean for which a record is kept out or a value is repaired: the glossary of the report."""

REASONS = {
    "missing_key": "The record has no id. It cannot be told apart from others, so it stays out.",
    "malformed_record": "The record cannot be read: a quote that is never closed, or more or fewer fields than the header has.",
    "invalid_value": "A value does not fit its column: not a date, out of range, too long, or it can be read in two ways.",
    "missing_required": "A column that every row must have is empty.",
    "invalid_enum": "A code is not in the column's list: a mistake, or a new code that the schema does not know yet.",
    "missing_parent": "The record belongs to a row that is not there. It loads by itself once that row has come.",
    "duplicate_key": "Another record has the same key under another id; only one of them can load.",
    "dangling_reference": "The record loaded, but a row that it refers to is not there. The reference comes back with that row.",
    "invalid_json": "The record loaded, but a value that should be JSON is not. It is kept as text.",
}
"""By the code that quarantine and field issues have; a test holds it against what imports can write."""
