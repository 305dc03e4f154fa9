-- How much WAL there has been since the server was made, how archiving goes, and what replication slots keep.
WITH written AS (
    SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END AS lsn
), archiver AS (
    SELECT a.*, current_setting('archive_mode') <> 'off' AS enabled FROM pg_stat_archiver a
)
SELECT 'wal_bytes_total' AS metric, '{}'::jsonb AS labels, pg_wal_lsn_diff(lsn, '0/0')::float8 AS value, NULL AS note FROM written
UNION ALL SELECT 'archive_enabled', '{}', enabled::integer, NULL FROM archiver
UNION ALL SELECT 'archived_total', '{}', archived_count, NULL FROM archiver
UNION ALL SELECT 'archive_failures_total', '{}', failed_count, NULL FROM archiver
UNION ALL
SELECT 'archive_failing_seconds', '{}',
       CASE WHEN enabled AND last_failed_time > coalesce(last_archived_time, '-infinity')
            THEN extract(epoch FROM clock_timestamp()
                         - greatest(coalesce(last_archived_time, stats_reset), pg_postmaster_start_time()))
            ELSE 0 END,
       NULL
FROM archiver
UNION ALL
SELECT 'slot_retained_bytes', jsonb_build_object('slot', s.slot_name, 'active', CASE WHEN s.active THEN 'yes' ELSE 'no' END),
       greatest(pg_wal_lsn_diff(w.lsn, s.restart_lsn), 0)::float8, NULL
FROM pg_replication_slots s, written w WHERE s.restart_lsn IS NOT NULL
UNION ALL
SELECT 'slot_lag_bytes', jsonb_build_object('slot', s.slot_name, 'active', CASE WHEN s.active THEN 'yes' ELSE 'no' END),
       greatest(pg_wal_lsn_diff(w.lsn, coalesce(s.confirmed_flush_lsn, s.restart_lsn)), 0)::float8, NULL
FROM pg_replication_slots s, written w WHERE s.restart_lsn IS NOT NULL
UNION ALL
SELECT 'slot_lost', jsonb_build_object('slot', s.slot_name, 'active', CASE WHEN s.active THEN 'yes' ELSE 'no' END),
       (coalesce(s.wal_status, '') = 'lost')::integer, NULL
FROM pg_replication_slots s
UNION ALL
-- The server says nothing of the lag while a standby has nothing to do. What others' sessions do is hidden.
SELECT 'standby_lag_seconds', jsonb_build_object('standby', coalesce(nullif(r.application_name, ''), r.usename)),
       CASE WHEN bool_and(r.state IS NOT NULL) THEN extract(epoch FROM max(coalesce(r.replay_lag, '0'))) END,
       CASE WHEN bool_or(r.state IS NULL) THEN 'not permitted' END
FROM pg_stat_replication r WHERE r.state IS DISTINCT FROM 'backup' GROUP BY 2
