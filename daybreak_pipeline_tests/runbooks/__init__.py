"""The runbooks of docs/runbooks are carried out: each in the situation that it is for."""
