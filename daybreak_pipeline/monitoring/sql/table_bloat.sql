-- How much of each big table is empty: what its pages have beyond what its rows need where they are packed. An estimate from
-- the statistics of its columns as of the last VACUUM or ANALYZE; no page is read, and nothing is locked. Of columns that
-- the role may not read the server hides the statistics.
WITH tables AS MATERIALIZED (
    SELECT c.oid, coalesce(pg_partition_root(c.oid)::oid, c.oid) AS root, c.relname, n.nspname, c.relpages::float8 AS pages, c.reltuples,
           current_setting('block_size')::float8 AS page, has_table_privilege(c.oid, 'SELECT') AS visible,
           coalesce((SELECT split_part(option, '=', 2)::float8 / 100 FROM unnest(c.reloptions) AS option
                     WHERE starts_with(option, 'fillfactor=')), 1) AS filled
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'm') AND c.relpersistence = 'p' AND c.reltuples > 0
      AND c.relpages >= %(least)s / current_setting('block_size')::float8
      AND n.nspname <> 'information_schema' AND NOT starts_with(n.nspname, 'pg_')
), rows AS (
    SELECT t.oid, bool_and(s.attname IS NOT NULL) AS known,
           4 + 8 * ceil((23 + CASE WHEN bool_or(s.null_frac > 0) THEN (7 + count(*)) / 8 ELSE 0 END) / 8.0)
             + 8 * ceil(sum((1 - s.null_frac) * s.avg_width) / 8.0) AS width
    FROM tables t
    JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_stats s ON s.schemaname = t.nspname AND s.tablename = t.relname AND s.attname = a.attname AND NOT s.inherited
    GROUP BY t.oid
), needs AS (
    SELECT t.*, r.known, least(t.pages, ceil(t.reltuples / greatest(1, floor((t.page - 24) * t.filled / r.width)))) AS needed
    FROM tables t JOIN rows r USING (oid)
    WHERE r.known OR NOT t.visible
)
SELECT n.nspname || '.' || c.relname AS name, (sum(t.pages * t.page))::float8 AS size,
       (sum((t.pages - t.needed) * t.page))::float8 AS empty, NOT bool_and(t.visible AND t.known) AS hidden
FROM needs t JOIN pg_class c ON c.oid = t.root JOIN pg_namespace n ON n.oid = c.relnamespace
GROUP BY 1
ORDER BY 2 DESC, 1
LIMIT 200
