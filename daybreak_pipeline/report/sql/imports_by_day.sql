-- By table and day (UTC) on which somebody tried to import it: how many tries failed, whether one looked at the file, how
-- many records the file had that the table was last loaded from by then, and how long that took if it was on that day.
-- What was loaded before the first day belongs to the day before it.
WITH tries AS (
    SELECT table_name, (finished_at AT TIME ZONE 'UTC')::date AS day, max(id) AS last,
           count(*) FILTER (WHERE status = 'failed') AS failures, bool_or(status <> 'failed') AS looked
    FROM ingest.imports
    WHERE finished_at >= %(since)s AND finished_at <= %(at)s AND source_uri <> 'quarantine:' || table_name
    GROUP BY 1, 2
    UNION ALL
    SELECT table_name, (%(since)s AT TIME ZONE 'UTC')::date - 1, max(id), 0, true
    FROM ingest.file_imports WHERE loaded AND finished_at < %(since)s GROUP BY 1
)
SELECT t.table_name AS table, t.day, t.failures, t.looked, loaded.rows_read AS read,
       CASE WHEN (loaded.finished_at AT TIME ZONE 'UTC')::date = t.day
            THEN extract(epoch FROM loaded.finished_at - loaded.started_at)::float8 END AS seconds
FROM tries t
LEFT JOIN LATERAL (
    SELECT f.* FROM ingest.file_imports f
    WHERE f.table_name = t.table_name AND f.loaded AND f.id <= t.last ORDER BY f.id DESC LIMIT 1
) loaded ON true;
