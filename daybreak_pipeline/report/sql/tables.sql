-- Size of each table as the catalog knows it: what the planner would assume, and the bytes on disk.
SELECT t.name, c.oid IS NOT NULL,
       CASE WHEN c.relpages > 0 THEN
           round(c.reltuples / c.relpages * pg_relation_size(c.oid) / current_setting('block_size')::integer)::bigint
       END,
       coalesce(pg_relation_size(c.oid), 0)
FROM unnest(%(tables)s::text[]) WITH ORDINALITY AS t(name, place)
LEFT JOIN pg_class c ON c.relname = t.name AND c.relnamespace = 'public'::regnamespace
ORDER BY t.place;
