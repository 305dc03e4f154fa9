-- Since when each check has failed without a break: since the first look after the last one at which it did not. Every
-- look keeps how many connections there were.
WITH looks AS (
    SELECT at FROM ingest.server_measurements WHERE metric = 'connections_used' AND at <= %(at)s AND at > %(at)s - interval '90 days'
), failed AS (
    SELECT labels ->> 'check' AS check, at FROM ingest.server_measurements
    WHERE metric = 'check_state' AND at <= %(at)s AND at > %(at)s - interval '90 days'
), fine AS (
    SELECT c.check, max(l.at) AS at
    FROM (SELECT DISTINCT failed.check FROM failed) c CROSS JOIN looks l
    LEFT JOIN failed f ON f.check = c.check AND f.at = l.at
    WHERE f.at IS NULL
    GROUP BY c.check
)
SELECT failed.check, min(failed.at) AS at
FROM failed LEFT JOIN fine ON fine.check = failed.check
WHERE failed.at > coalesce(fine.at, '-infinity')
GROUP BY failed.check
