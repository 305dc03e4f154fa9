-- By table and day (UTC) on which anything was checked: how many checks failed as of the end of that day, and whether one
-- of this table ran on it. A result holds until the next one of the same check.
WITH RECURSIVE pairs AS (
    (SELECT table_name, check_name FROM ingest.check_results ORDER BY 1, 2 LIMIT 1)
    UNION ALL
    SELECT n.table_name, n.check_name FROM pairs p CROSS JOIN LATERAL (
        SELECT r.table_name, r.check_name FROM ingest.check_results r
        WHERE (r.table_name, r.check_name) > (p.table_name, p.check_name) ORDER BY 1, 2 LIMIT 1
    ) n
), results AS (
    SELECT p.table_name, p.check_name, r.*,
           lead(r.day) OVER (PARTITION BY p.table_name, p.check_name ORDER BY r.day) AS next_day
    FROM pairs p
    CROSS JOIN LATERAL (
        (SELECT DISTINCT ON (1) (r.at AT TIME ZONE 'UTC')::date AS day, r.passed, r.severity FROM ingest.check_results r
         WHERE (r.table_name, r.check_name) = (p.table_name, p.check_name) AND r.at >= %(since)s AND r.at <= %(at)s
         ORDER BY 1, r.at DESC, r.id DESC)
        UNION ALL
        (SELECT (r.at AT TIME ZONE 'UTC')::date, r.passed, r.severity FROM ingest.check_results r
         WHERE (r.table_name, r.check_name) = (p.table_name, p.check_name) AND r.at < %(since)s
         ORDER BY r.at DESC, r.id DESC LIMIT 1)
    ) r
), days AS (
    SELECT DISTINCT day FROM results WHERE day >= (%(since)s AT TIME ZONE 'UTC')::date
)
SELECT r.table_name AS table, d.day,
       count(*) FILTER (WHERE NOT r.passed AND r.severity = 'ERROR') AS errors,
       count(*) FILTER (WHERE NOT r.passed AND r.severity <> 'ERROR') AS warnings,
       bool_or(r.day = d.day) AS on_that_day
FROM days d JOIN results r ON r.day <= d.day AND (r.next_day > d.day OR r.next_day IS NULL)
GROUP BY 1, 2;
