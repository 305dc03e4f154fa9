-- Who is connected, and who waits. What others do is hidden from a role without pg_read_all_stats: then nothing is
-- said of the longest of them, since it may be among the hidden ones.
WITH clients AS MATERIALIZED (
    SELECT a.pid, a.usename, a.application_name, a.state, a.xact_start, a.state_change,
           a.state IS NULL AND a.query = '<insufficient privilege>' AS hidden
    FROM pg_stat_activity a
    WHERE a.datid IS NOT NULL AND a.usesysid IS NOT NULL
      AND coalesce(a.backend_type, 'client backend') = 'client backend'
), others AS (
    SELECT * FROM clients WHERE pid <> pg_backend_pid()
), waits AS (
    SELECT clock_timestamp() - l.waitstart AS lasting
    FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
    -- An import waits for another one of the same table: that is how it should be.
    WHERE NOT l.granted AND NOT (
        a.application_name = 'daybreak' AND NOT EXISTS (
            SELECT FROM unnest(pg_blocking_pids(l.pid)) blocking (pid) LEFT JOIN pg_stat_activity b ON b.pid = blocking.pid
            WHERE b.application_name IS DISTINCT FROM 'daybreak'))
), slots AS (
    SELECT current_setting('max_connections')::integer - current_setting('superuser_reserved_connections')::integer
           - coalesce(current_setting('reserved_connections', true)::integer, 0) AS number
), longest (metric, lasting) AS (
    SELECT 'idle_in_transaction_seconds',
           max(clock_timestamp() - state_change) FILTER (WHERE state IN ('idle in transaction', 'idle in transaction (aborted)'))
    FROM others
    UNION ALL
    SELECT 'longest_transaction_seconds', max(clock_timestamp() - xact_start) FILTER (WHERE application_name <> 'daybreak')
    FROM others
    UNION ALL
    SELECT 'longest_import_seconds', max(clock_timestamp() - xact_start) FILTER (WHERE application_name = 'daybreak')
    FROM others
)
SELECT 'connections' AS metric,
       jsonb_build_object('role', usename, 'state', CASE WHEN hidden THEN 'not permitted' ELSE coalesce(state, 'unknown') END)
       AS labels,
       count(*)::float8 AS value, NULL AS note
FROM clients GROUP BY 2
UNION ALL SELECT 'connections_used', '{}', (SELECT count(*) FROM clients), NULL
UNION ALL SELECT 'connections_limit', '{}', number, NULL FROM slots
UNION ALL SELECT 'connections_used_ratio', '{}', (SELECT count(*) FROM clients)::float8 / greatest(number, 1), NULL FROM slots
UNION ALL
SELECT l.metric, '{}', CASE WHEN NOT h.any THEN coalesce(extract(epoch FROM l.lasting), 0) END,
       CASE WHEN h.any THEN 'not permitted' END
FROM longest l, (SELECT coalesce(bool_or(hidden), false) AS any FROM others) h
UNION ALL SELECT 'lock_waiters', '{}', (SELECT count(*) FROM waits), NULL
UNION ALL SELECT 'lock_wait_seconds', '{}', (SELECT coalesce(extract(epoch FROM max(lasting)), 0) FROM waits), NULL
UNION ALL
SELECT m.metric, jsonb_build_object('role', r.rolname), m.value, NULL
FROM pg_roles r,
     LATERAL (SELECT count(*)::float8 AS used FROM clients c WHERE c.usename = r.rolname) u,
     LATERAL (VALUES ('role_connections_limit', r.rolconnlimit::float8),
                     ('role_connections_used_ratio', u.used / greatest(r.rolconnlimit, 1))) m (metric, value)
WHERE r.rolconnlimit >= 0 AND r.rolcanlogin
