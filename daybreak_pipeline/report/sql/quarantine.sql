-- Open quarantine by table, reason and column. Many records share few lists of reasons: these are grouped
-- first, so that only the lists are taken apart.
WITH lists AS (
    SELECT table_name, reasons, count(*) AS records FROM ingest.quarantine
    WHERE resolved_at IS NULL GROUP BY table_name, reasons
)
SELECT table_name, NULL AS code, NULL AS column_name, sum(records)::bigint FROM lists GROUP BY table_name
UNION ALL
SELECT table_name, r.code, coalesce(r.column_name, ''), sum(records)::bigint
FROM lists, LATERAL (
    SELECT DISTINCT e.value ->> 'code' AS code, e.value ->> 'column' AS column_name
    FROM jsonb_array_elements(reasons) e
) r
GROUP BY table_name, r.code, r.column_name
ORDER BY 1, 4 DESC, 2, 3;
