-- Checkpoints that came by the clock, and those that had to come early, up to PostgreSQL 16.
SELECT c.metric, '{}'::jsonb AS labels, c.value::float8 AS value, NULL AS note
FROM pg_stat_bgwriter,
     LATERAL (VALUES ('checkpoints_timed_total', checkpoints_timed), ('checkpoints_requested_total', checkpoints_req)) c (metric, value)
