-- The size of pg_wal. Only pg_monitor may look.
SELECT 'wal_directory_bytes' AS metric, '{}'::jsonb AS labels, coalesce(sum(size), 0)::float8 AS value, NULL AS note FROM pg_ls_waldir()
