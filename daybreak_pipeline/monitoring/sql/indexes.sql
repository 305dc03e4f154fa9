-- Indexes that cost without use, that do not work, and that are missing. Sizes are as of the last VACUUM or ANALYZE, so
-- that no lock is needed.
WITH indexes AS MATERIALIZED (
    SELECT i.indexrelid, i.indrelid, i.indisvalid, i.indisunique, c.relname, n.nspname, c.relkind,
           c.relpages::float8 * current_setting('block_size')::integer AS bytes,
           EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x')) AS constrains,
           concat_ws('/', i.indrelid, c.relam, i.indkey, i.indclass, i.indcollation, i.indoption,
                     coalesce(pg_get_expr(i.indexprs, i.indrelid), '-'), coalesce(pg_get_expr(i.indpred, i.indrelid), '-')) AS same,
           jsonb_build_object('index', n.nspname || '.' || c.relname) AS labels
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relpersistence = 'p' AND n.nspname <> 'information_schema' AND NOT starts_with(n.nspname, 'pg_')
)
SELECT 'index_invalid_bytes' AS metric, i.labels, i.bytes AS value, NULL AS note
FROM indexes i
WHERE NOT i.indisvalid
  -- Not one that is being built.
  AND NOT EXISTS (SELECT FROM pg_locks l WHERE l.relation = i.indrelid AND l.mode = 'ShareUpdateExclusiveLock' AND l.granted)
UNION ALL
SELECT 'index_unused_bytes', i.labels, i.bytes, NULL
FROM indexes i JOIN pg_stat_user_indexes s ON s.indexrelid = i.indexrelid
WHERE i.indisvalid AND NOT i.indisunique AND NOT i.constrains AND s.idx_scan = 0 AND i.bytes > 10485760
UNION ALL
SELECT 'index_duplicate_bytes', i.labels || jsonb_build_object('of', min(o.nspname || '.' || o.relname)), i.bytes, NULL
FROM indexes i JOIN indexes o ON o.same = i.same AND o.indexrelid <> i.indexrelid AND o.indisvalid
WHERE i.indisvalid AND NOT i.constrains AND (o.indisunique OR NOT i.indisunique)
  AND (o.constrains OR (o.indisunique AND NOT i.indisunique) OR (o.indisunique = i.indisunique AND o.indexrelid < i.indexrelid))
GROUP BY i.labels, i.bytes
UNION ALL
SELECT 'foreign_key_unindexed_bytes',
       jsonb_build_object('table', n.nspname || '.' || c.relname, 'constraint', k.conname),
       c.relpages::float8 * current_setting('block_size')::integer, NULL
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE k.contype = 'f' AND c.relpages > 10485760 / current_setting('block_size')::integer
  AND NOT EXISTS (
      SELECT FROM pg_index i WHERE i.indrelid = k.conrelid AND i.indisvalid AND i.indpred IS NULL
      AND k.conkey <@ (i.indkey::smallint[])[0:cardinality(k.conkey) - 1])
