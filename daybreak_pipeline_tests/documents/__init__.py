"""The documents: their blocks run, or are listed with a reason."""
