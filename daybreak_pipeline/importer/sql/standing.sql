-- How each table stands: its last import, the last that read a file, the last good look at one, since when imports fail
-- and why, since when the file is missing, and how far apart new files usually are.
-- A failure counts until what failed has gone well again: a file's until the next good look at a file, or until none was
-- there; a replay's until the next replay that works, too.
SELECT t.name, last.id AS last, last.status, file.id AS loaded, file.finished_at AS loaded_at, file.rows_read AS records,
       good.finished_at AS good_at, failing.since AS failing_since, failing.times AS failing_times, failing.error,
       failing.outside,
       CASE WHEN failing.since IS NULL THEN absent.since END AS absent_since, absent.last_missed_at AS missed_at,
       -- Neither is in a database that lacks its migration yet.
       coalesce((to_jsonb(absent) ->> 'expected')::boolean, true) AS expected,
       greatest(newest.finished_at, absent.last_missed_at) AS attempted_at, usual.gap AS usual
FROM unnest(%(tables)s::text[]) WITH ORDINALITY AS t(name, place)
LEFT JOIN ingest.absent_files absent ON absent.table_name = t.name
LEFT JOIN LATERAL (
    SELECT i.finished_at FROM ingest.imports i WHERE i.table_name = t.name ORDER BY i.id DESC LIMIT 1
) newest ON true
LEFT JOIN LATERAL (
    SELECT i.id, i.status FROM ingest.imports i
    WHERE i.table_name = t.name AND (i.source_uri <> 'quarantine:' || t.name OR i.status = 'failed')
    ORDER BY i.id DESC LIMIT 1
) last ON true
LEFT JOIN LATERAL (
    SELECT i.id, i.finished_at, i.rows_read FROM ingest.file_imports i
    WHERE i.table_name = t.name AND i.loaded ORDER BY i.id DESC LIMIT 1
) file ON true
LEFT JOIN LATERAL (
    SELECT i.id, i.finished_at FROM ingest.file_imports i WHERE i.table_name = t.name ORDER BY i.id DESC LIMIT 1
) good ON true
LEFT JOIN LATERAL (
    SELECT i.id FROM ingest.imports i
    WHERE i.table_name = t.name AND i.status <> 'failed' ORDER BY i.id DESC LIMIT 1
) worked ON true
LEFT JOIN LATERAL (
    SELECT min(i.finished_at) AS since, count(*) AS times, (array_agg(i.error ORDER BY i.id DESC))[1] AS error,
           (array_agg(to_jsonb(i) ->> 'outside' ORDER BY i.id DESC))[1]::boolean AS outside
    FROM ingest.imports i
    WHERE i.table_name = t.name AND i.status = 'failed'
      AND i.id > coalesce(CASE WHEN i.source_uri = 'quarantine:' || t.name THEN worked.id ELSE good.id END, 0)
      AND i.finished_at > coalesce(absent.last_missed_at, '-infinity')
) failing ON true
LEFT JOIN LATERAL (
    SELECT CASE WHEN count(*) >= %(gaps)s THEN percentile_cont(0.5) WITHIN GROUP (ORDER BY gap) END AS gap FROM (
        SELECT i.finished_at - lead(i.finished_at) OVER (ORDER BY i.id DESC) AS gap FROM (
            SELECT f.id, f.finished_at FROM ingest.file_imports f
            WHERE f.table_name = t.name AND f.loaded ORDER BY f.id DESC LIMIT %(most)s + 1
        ) i
    ) gaps WHERE gap IS NOT NULL
) usual ON true
ORDER BY t.place;
