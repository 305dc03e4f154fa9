-- What the history tells: how much a counter grew in the last hour, how a size grows by the day, and since when
-- something has been so.
WITH recent AS (
    SELECT metric, at, value, lag(value) OVER (PARTITION BY metric, labels ORDER BY at) AS before
    FROM ingest.server_measurements
    WHERE metric = ANY (%(counters)s) AND at > %(at)s - interval '65 minutes' AND at <= %(at)s
)
SELECT 'last_hour' AS kind, metric, '{}'::jsonb AS labels,
       -- A counter that is smaller than before began again at 0.
       coalesce(sum(CASE WHEN value >= before THEN value - before ELSE value END) FILTER (WHERE before IS NOT NULL), 0)::float8 AS value,
       extract(epoch FROM max(at) - min(at))::float8 AS seconds
FROM recent GROUP BY metric
UNION ALL
SELECT 'by_day', metric, labels, regr_slope(value, extract(epoch FROM at) / 86400)::float8, extract(epoch FROM max(at) - min(at))::float8
FROM ingest.server_measurements
WHERE metric = ANY (%(sizes)s) AND at > %(at)s - interval '28 days' AND at <= %(at)s
GROUP BY metric, labels
UNION ALL
SELECT 'since', metric, labels, NULL, extract(epoch FROM %(at)s - min(at))::float8
FROM ingest.server_measurements
WHERE metric = ANY (%(lasting)s) AND at <= %(at)s
GROUP BY metric, labels
