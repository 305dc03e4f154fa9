-- How many records each table had in quarantine at the end of each day (UTC) on which that changed. What was there before
-- the first day belongs to the day before it.
WITH spans AS (
    SELECT table_name, greatest((first_seen_at AT TIME ZONE 'UTC')::date, (%(since)s AT TIME ZONE 'UTC')::date - 1) AS came,
           CASE WHEN resolved_at IS NOT NULL -- greatest() knows no NULL
                THEN greatest((resolved_at AT TIME ZONE 'UTC')::date, (%(since)s AT TIME ZONE 'UTC')::date - 1) END AS went,
           count(*) AS records
    FROM ingest.quarantine GROUP BY 1, 2, 3
), changes AS (
    SELECT table_name, came AS day, records FROM spans
    UNION ALL
    SELECT table_name, went, -records FROM spans WHERE went IS NOT NULL
)
SELECT table_name AS table, day, (sum(sum(records)) OVER (PARTITION BY table_name ORDER BY day))::bigint AS waiting
FROM changes GROUP BY 1, 2;
