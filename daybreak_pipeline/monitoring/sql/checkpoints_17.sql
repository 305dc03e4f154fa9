-- Checkpoints that came by the clock, and those that had to come early, from PostgreSQL 17 on.
SELECT c.metric, '{}'::jsonb AS labels, c.value::float8 AS value, NULL AS note
FROM pg_stat_checkpointer,
     LATERAL (VALUES ('checkpoints_timed_total', num_timed), ('checkpoints_requested_total', num_requested)) c (metric, value)
