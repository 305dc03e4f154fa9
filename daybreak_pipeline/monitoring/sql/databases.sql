-- The databases: size, how far transaction ids have come, and what the statistics have counted of this one.
WITH sizes AS (
    SELECT d.datname, has_database_privilege(d.oid, 'CONNECT') OR pg_has_role('pg_read_all_stats', 'USAGE') AS visible, d.oid
    FROM pg_database d WHERE d.datname IN (current_database(), %(dagster)s)
), counted AS (
    SELECT * FROM pg_stat_database WHERE datname = current_database()
)
SELECT 'database_bytes' AS metric, jsonb_build_object('database', datname) AS labels,
       CASE WHEN visible THEN pg_database_size(oid)::float8 END AS value,
       CASE WHEN NOT visible THEN 'not permitted' END AS note
FROM sizes
UNION ALL
SELECT 'dagster_bytes', '{}', CASE WHEN visible THEN pg_database_size(oid)::float8 END,
       CASE WHEN NOT visible THEN 'not permitted' END
FROM sizes WHERE datname = %(dagster)s
UNION ALL
SELECT 'transaction_id_age', jsonb_build_object('database', datname), age(datfrozenxid), NULL FROM pg_database
UNION ALL
SELECT 'multixact_id_age', jsonb_build_object('database', datname), mxid_age(datminmxid), NULL FROM pg_database
UNION ALL
SELECT c.metric, '{}', c.value, NULL
FROM counted, LATERAL (VALUES
    ('commits_total', xact_commit), ('rollbacks_total', xact_rollback), ('deadlocks_total', deadlocks),
    ('temporary_bytes_total', temp_bytes), ('block_hits_total', blks_hit), ('block_reads_total', blks_read)
) c (metric, value)
UNION ALL
SELECT 'server_uptime_seconds', '{}', extract(epoch FROM clock_timestamp() - pg_postmaster_start_time()), NULL
