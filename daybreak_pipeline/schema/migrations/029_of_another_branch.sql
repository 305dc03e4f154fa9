-- Holds the number of a migration that another branch brings. Drop this pair when that one is merged.
SELECT;
