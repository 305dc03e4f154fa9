-- How much of each big B-tree index is empty: what it has beyond what its entries would take if they were packed as CREATE
-- INDEX packs them. An estimate from the statistics of the columns, too low for an index with many equal values. No page is
-- read. Asking for the size of an index waits for whoever has locked it: such indexes are left out.
WITH locked AS MATERIALIZED (
    SELECT relation FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND locktype = 'relation' AND relation IS NOT NULL
), parts AS (
    SELECT i.indexrelid, i.indrelid, k.attnum, k.place
    FROM pg_index i CROSS JOIN LATERAL unnest(i.indkey::smallint[]) WITH ORDINALITY AS k(attnum, place)
    WHERE i.indisvalid AND i.indisready AND NOT i.indisexclusion
), widths AS (
    SELECT p.indexrelid, bool_and(s.avg_width IS NOT NULL) AS known, bool_or(s.null_frac > 0) AS nulls,
           bool_and(has_table_privilege(p.indrelid, 'SELECT')) AS visible, sum((1 - s.null_frac) * s.avg_width) AS width
    FROM parts p
    JOIN pg_class t ON t.oid = CASE WHEN p.attnum = 0 THEN p.indexrelid ELSE p.indrelid END
    JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = CASE WHEN p.attnum = 0 THEN p.place ELSE p.attnum END
    LEFT JOIN pg_stats s ON s.schemaname = t.relnamespace::regnamespace::text
                        AND s.tablename = t.relname AND s.attname = a.attname AND NOT s.inherited
    GROUP BY p.indexrelid
), sizes AS (
    SELECT n.nspname, c.relname, c.relowner, pg_relation_size(c.oid) AS size, w.visible,
           (ceil(c.reltuples * (8 * ceil((8 + CASE WHEN w.nulls THEN 8 ELSE 0 END + w.width) / 8.0) + 4)
                 / ((current_setting('block_size')::bigint - 40) * 0.9)) + 2) * current_setting('block_size')::bigint AS packed
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_am m ON m.oid = c.relam AND m.amname = 'btree'
    JOIN widths w ON w.indexrelid = c.oid AND (w.known OR NOT w.visible)
    WHERE c.relkind = 'i' AND c.relpersistence = 'p' AND c.reltuples >= 0
      AND n.nspname <> 'information_schema' AND NOT starts_with(n.nspname, 'pg_')
      AND c.oid NOT IN (SELECT relation FROM locked)
)
SELECT nspname::text AS schema, relname::text AS index, size, greatest(0, size - packed)::bigint AS empty, NOT visible AS hidden,
       pg_has_role(relowner, 'USAGE') AS ours
FROM sizes
WHERE size >= %(least)s
ORDER BY size, 1, 2
