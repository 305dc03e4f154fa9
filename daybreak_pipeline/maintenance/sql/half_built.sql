-- What a REINDEX CONCURRENTLY left behind that was killed: an index that no query uses and every write keeps up. One that is
-- at work holds its table.
SELECT n.nspname::text AS schema, c.relname::text AS index, pg_relation_size(c.oid) AS size, pg_has_role(c.relowner, 'USAGE') AS ours
FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT i.indisvalid AND c.relkind = 'i' AND c.relname ~ '_cc(new|old)[0-9]*$' AND n.nspname = ANY (%(schemas)s)
  AND NOT EXISTS (SELECT FROM pg_locks l WHERE l.relation = i.indrelid AND l.granted AND l.mode = 'ShareUpdateExclusiveLock'
                  AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()))
ORDER BY 1, 2;
