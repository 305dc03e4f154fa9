-- The newest imports of each table that read its file, or failed to, oldest first.
SELECT t.name, to_jsonb(i)
FROM unnest(%(tables)s::text[]) AS t(name)
CROSS JOIN LATERAL (
    SELECT * FROM ingest.imports i
    WHERE i.table_name = t.name AND i.source_uri <> 'quarantine:' || t.name AND i.status <> 'skipped'
    ORDER BY i.id DESC LIMIT %(imports)s
) i
ORDER BY t.name, i.id;
