-- What the ledger has besides how the tables stand (importer/sql/standing.sql): the newest imports that read a file or
-- failed to, oldest first (all by id), and how many records loaded from quarantine since the last file.
SELECT t.name,
       ARRAY(
           SELECT h.id FROM (
               SELECT i.id FROM ingest.imports i
               WHERE i.table_name = t.name AND i.source_uri <> 'quarantine:' || t.name AND i.status <> 'skipped'
               ORDER BY i.id DESC LIMIT %(imports)s
           ) h ORDER BY h.id
       ) AS history,
       replayed.rows AS replayed
FROM unnest(%(tables)s::text[]) AS t(name)
LEFT JOIN LATERAL (
    SELECT i.id FROM ingest.file_imports i WHERE i.table_name = t.name AND i.loaded ORDER BY i.id DESC LIMIT 1
) file ON true
LEFT JOIN LATERAL (
    SELECT coalesce(sum(i.rows_inserted + i.rows_updated), 0)::bigint AS rows FROM ingest.imports i
    WHERE i.table_name = t.name AND i.source_uri = 'quarantine:' || t.name AND i.id > coalesce(file.id, 0)
) replayed ON true;
