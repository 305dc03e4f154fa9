-- Tables that autovacuum should have seen to by now: dead rows beyond its usual fifth, statistics that a fifth of the rows
-- has left behind, no statistics at all, or transaction numbers that get old. Temporary and unlogged ones are nobody's.
SELECT n.nspname::text AS schema, c.relname::text AS table, s.n_dead_tup AS dead,
       pg_has_role(c.relowner, 'USAGE') AS ours
FROM pg_stat_user_tables s
JOIN pg_class c ON c.oid = s.relid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ANY (%(schemas)s) AND c.relkind = 'r' AND c.relpersistence = 'p'
  AND (s.n_dead_tup >= %(rows)s AND s.n_dead_tup > 0.2 * (s.n_live_tup + s.n_dead_tup)
       OR s.n_mod_since_analyze >= %(rows)s AND s.n_mod_since_analyze > 0.2 * s.n_live_tup
       OR c.reltuples < 0 AND s.n_live_tup >= %(rows)s
       OR age(c.relfrozenxid) > 0.9 * current_setting('autovacuum_freeze_max_age')::bigint)
ORDER BY pg_relation_size(c.oid), 1, 2;
