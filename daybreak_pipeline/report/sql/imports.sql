-- The ledger, table by table: the last import, the last one that read the file, the newest ones that read it or failed
-- to, oldest first (all by id), since when imports fail, how many records loaded from quarantine since, and since when
-- the file is missing. A replay that succeeds is no import of a file.
SELECT t.name, last.id AS last, file.id AS loaded,
       ARRAY(
           SELECT h.id FROM (
               SELECT i.id FROM ingest.imports i
               WHERE i.table_name = t.name AND i.source_uri <> 'quarantine:' || t.name AND i.status <> 'skipped'
               ORDER BY i.id DESC LIMIT %(imports)s
           ) h ORDER BY h.id
       ) AS history,
       good.finished_at AS good_at, failing.since, failing.times, replayed.rows AS replayed, absent.since AS absent_since
FROM unnest(%(tables)s::text[]) AS t(name)
LEFT JOIN LATERAL (
    SELECT * FROM ingest.imports i
    WHERE i.table_name = t.name AND (i.source_uri <> 'quarantine:' || t.name OR i.status = 'failed')
    ORDER BY i.id DESC LIMIT 1
) last ON true
LEFT JOIN LATERAL (
    SELECT * FROM ingest.file_imports i WHERE i.table_name = t.name AND i.loaded ORDER BY i.id DESC LIMIT 1
) file ON true
LEFT JOIN LATERAL (
    SELECT i.id, i.finished_at FROM ingest.file_imports i WHERE i.table_name = t.name ORDER BY i.id DESC LIMIT 1
) good ON true
LEFT JOIN ingest.absent_files absent ON absent.table_name = t.name
LEFT JOIN LATERAL (
    SELECT min(i.finished_at) AS since, count(*) AS times FROM ingest.imports i
    WHERE i.table_name = t.name AND i.status = 'failed' AND i.id > coalesce(good.id, 0)
      AND i.finished_at > coalesce(absent.last_missed_at, '-infinity')
) failing ON true
LEFT JOIN LATERAL (
    SELECT coalesce(sum(i.rows_inserted + i.rows_updated), 0)::bigint AS rows FROM ingest.imports i
    WHERE i.table_name = t.name AND i.source_uri = 'quarantine:' || t.name AND i.id > coalesce(file.id, 0)
) replayed ON true;
