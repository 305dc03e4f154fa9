-- Results of checks of which somebody has accepted something: the newest of each day (UTC) that fails, and until which day it
-- was the newest. The places of single rows stay in the database.
WITH pairs AS (
    SELECT DISTINCT table_name, check_name FROM ingest.accepted_findings WHERE reopened_at IS NULL OR reopened_at >= %(since)s
), results AS (
    SELECT p.table_name, p.check_name, r.*,
           lead(r.day) OVER (PARTITION BY p.table_name, p.check_name ORDER BY r.day) AS next_day
    FROM pairs p
    CROSS JOIN LATERAL (
        (SELECT DISTINCT ON (1) (c.at AT TIME ZONE 'UTC')::date AS day, c.id, c.passed FROM ingest.check_results c
         WHERE (c.table_name, c.check_name) = (p.table_name, p.check_name) AND c.at >= %(since)s AND c.at <= %(at)s
         ORDER BY 1, c.at DESC, c.id DESC)
        UNION ALL
        (SELECT (c.at AT TIME ZONE 'UTC')::date, c.id, c.passed FROM ingest.check_results c
         WHERE (c.table_name, c.check_name) = (p.table_name, p.check_name) AND c.at < %(since)s
         ORDER BY c.at DESC, c.id DESC LIMIT 1)
    ) r
)
SELECT r.table_name AS table, r.check_name AS check, r.day, r.next_day,
       c.description AS summary, c.failed AS count, c.total, c.severity, c.passed,
       jsonb_build_object('counts', c.details -> 'counts', 'tallies',
           (SELECT jsonb_agg(t - 'rows' - 'places' - 'sql') FROM jsonb_array_elements(c.details -> 'tallies') t)) AS details
FROM results r JOIN ingest.check_results c ON c.id = r.id
WHERE NOT r.passed;
