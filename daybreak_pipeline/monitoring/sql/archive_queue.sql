-- Segments that wait to be archived. Only pg_monitor may look.
SELECT m.metric, '{}'::jsonb AS labels, m.value, NULL AS note
FROM (SELECT count(*)::float8 AS files, coalesce(extract(epoch FROM clock_timestamp() - min(modification)), 0)::float8 AS oldest
      FROM pg_ls_archive_statusdir() WHERE right(name, 6) = '.ready') queue,
     LATERAL (VALUES ('archive_waiting_files', files), ('archive_waiting_seconds', oldest)) m (metric, value)
