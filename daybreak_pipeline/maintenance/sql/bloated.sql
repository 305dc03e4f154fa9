-- B-tree indexes that take much more space than their entries would if they were packed as CREATE INDEX packs them: an
-- estimate from the statistics of the columns, too low for an index with many equal values. No page is read.
WITH parts AS (
    SELECT i.indexrelid, i.indrelid, k.attnum, k.place
    FROM pg_index i CROSS JOIN LATERAL unnest(i.indkey::smallint[]) WITH ORDINALITY AS k(attnum, place)
    WHERE i.indisvalid AND i.indisready AND NOT i.indisexclusion
), widths AS (
    SELECT p.indexrelid, bool_and(s.avg_width IS NOT NULL) AS known, bool_or(s.null_frac > 0) AS nulls,
           sum((1 - s.null_frac) * s.avg_width) AS width
    FROM parts p
    JOIN pg_class t ON t.oid = CASE WHEN p.attnum = 0 THEN p.indexrelid ELSE p.indrelid END
    JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = CASE WHEN p.attnum = 0 THEN p.place ELSE p.attnum END
    LEFT JOIN pg_stats s ON s.schemaname = t.relnamespace::regnamespace::text
                        AND s.tablename = t.relname AND s.attname = a.attname AND NOT s.inherited
    GROUP BY p.indexrelid
), sizes AS (
    SELECT c.oid, c.relname, c.relnamespace, c.relowner, pg_relation_size(c.oid) AS size,
           current_setting('block_size')::bigint AS page,
           ceil(c.reltuples * (8 * ceil((8 + CASE WHEN w.nulls THEN 8 ELSE 0 END + w.width) / 8.0) + 4)
                / ((current_setting('block_size')::bigint - 40) * 0.9)) + 2 AS pages
    FROM pg_class c
    JOIN pg_am m ON m.oid = c.relam AND m.amname = 'btree'
    JOIN widths w ON w.indexrelid = c.oid AND w.known
    WHERE c.relkind = 'i' AND c.relpersistence = 'p' AND c.reltuples >= 0
)
SELECT s.relnamespace::regnamespace::text AS schema, s.relname::text AS index, s.size, (s.size - s.pages * s.page)::bigint AS waste,
       pg_has_role(s.relowner, 'USAGE') AS ours
FROM sizes s JOIN pg_namespace n ON n.oid = s.relnamespace
WHERE n.nspname = ANY (%(schemas)s) AND s.size >= %(bytes)s AND s.size - s.pages * s.page > 0.5 * s.size
ORDER BY s.size, 1, 2;
