-- Open field issues by table, column and code.
SELECT table_name, column_name, code, count(*) FROM ingest.field_issues
WHERE resolved_at IS NULL GROUP BY 1, 2, 3 ORDER BY 1, 4 DESC, 2, 3;
