-- The tables of this database, the biggest two hundred; a table's partitions count as one. Asking for the size of a
-- table waits for whoever has locked it, such as the first import of it: such tables are left out of this look.
WITH locked AS MATERIALIZED (
    SELECT relation FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND locktype = 'relation' AND relation IS NOT NULL
), tables AS MATERIALIZED (
    SELECT c.oid, coalesce(pg_partition_root(c.oid)::oid, c.oid) AS root, c.relpages
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'm') AND c.relpersistence = 'p'
      AND n.nspname <> 'information_schema' AND NOT starts_with(n.nspname, 'pg_')
    ORDER BY c.relpages DESC, c.oid LIMIT 200
), facts AS (
    SELECT jsonb_build_object('table', n.nspname || '.' || r.relname) AS labels,
           sum(pg_total_relation_size(t.oid)) AS bytes, sum(s.n_live_tup) AS live, sum(s.n_dead_tup) AS dead,
           sum(s.n_mod_since_analyze) AS changed,
           -- A table that was never looked after is as old as this server's statistics can tell.
           max(clock_timestamp() - coalesce(greatest(s.last_vacuum, s.last_autovacuum), k.since))
               FILTER (WHERE s.n_dead_tup >= 1000) AS unvacuumed,
           max(clock_timestamp() - coalesce(greatest(s.last_analyze, s.last_autoanalyze), k.since))
               FILTER (WHERE s.n_mod_since_analyze >= 1000 AND s.n_mod_since_analyze > 0.1 * s.n_live_tup) AS unanalyzed
    FROM tables t
    JOIN pg_class r ON r.oid = t.root
    JOIN pg_namespace n ON n.oid = r.relnamespace
    JOIN pg_stat_user_tables s ON s.relid = t.oid
    CROSS JOIN (SELECT coalesce(stats_reset, pg_postmaster_start_time()) AS since FROM pg_stat_database
                WHERE datname = current_database()) k
    WHERE t.oid NOT IN (SELECT relation FROM locked)
    GROUP BY n.nspname, r.relname
)
SELECT 'table_bytes' AS metric, labels, bytes::float8 AS value, NULL AS note FROM facts
UNION ALL SELECT 'table_rows', labels, live, NULL FROM facts
UNION ALL SELECT 'table_dead_rows', labels, dead, NULL FROM facts
UNION ALL SELECT 'table_dead_ratio', labels, dead::float8 / (live + dead), NULL FROM facts WHERE dead >= 10000
UNION ALL SELECT 'table_unvacuumed_seconds', labels, extract(epoch FROM unvacuumed), NULL FROM facts WHERE unvacuumed IS NOT NULL
UNION ALL SELECT 'table_unanalyzed_seconds', labels, extract(epoch FROM unanalyzed), NULL FROM facts WHERE unanalyzed IS NOT NULL
