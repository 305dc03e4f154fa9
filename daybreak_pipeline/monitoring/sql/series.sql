-- By day, for four weeks: what is plotted. A counter is shown as what it grew that day.
SELECT metric, labels, array_agg(value ORDER BY day) AS values
FROM (
    SELECT metric, labels, date_trunc('day', at) AS day, avg(value)::float8 AS value
    FROM ingest.server_measurements
    WHERE metric = ANY (%(sizes)s) AND at > %(at)s - interval '28 days' AND at <= %(at)s
    GROUP BY 1, 2, 3
    UNION ALL
    SELECT metric, labels, date_trunc('day', at), sum(CASE WHEN value >= before THEN value - before ELSE value END)::float8
    FROM (SELECT metric, labels, at, value, lag(value) OVER (PARTITION BY metric, labels ORDER BY at) AS before
          FROM ingest.server_measurements
          WHERE metric = ANY (%(counters)s) AND at > %(at)s - interval '28 days' AND at <= %(at)s) counted
    WHERE before IS NOT NULL
    GROUP BY 1, 2, 3
) by_day
GROUP BY metric, labels
