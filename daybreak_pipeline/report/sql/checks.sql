-- The newest result of every check of every table, and since when it has failed without a break.
-- The history grows with every run: the index is skipped through, one step for each pair.
WITH RECURSIVE pairs AS (
    (SELECT table_name, check_name FROM ingest.check_results ORDER BY 1, 2 LIMIT 1)
    UNION ALL
    SELECT n.table_name, n.check_name FROM pairs p CROSS JOIN LATERAL (
        SELECT r.table_name, r.check_name FROM ingest.check_results r
        WHERE (r.table_name, r.check_name) > (p.table_name, p.check_name) ORDER BY 1, 2 LIMIT 1
    ) n
), imported AS (
    SELECT table_name, max(finished_at) AS finished_at FROM ingest.imports WHERE status = 'imported' GROUP BY table_name
)
SELECT p.table_name AS table, p.check_name AS name, l.passed, l.severity, l.failed AS count, l.total,
       l.description AS summary, l.details, broken.since, broken.times,
       coalesce(imported.finished_at > l.at, false) AS outdated, yesterday.failed AS yesterday
FROM pairs p
CROSS JOIN LATERAL (
    SELECT * FROM ingest.check_results r
    WHERE (r.table_name, r.check_name) = (p.table_name, p.check_name) ORDER BY r.at DESC, r.id DESC LIMIT 1
) l
LEFT JOIN LATERAL (
    SELECT r.at, r.id FROM ingest.check_results r
    WHERE (r.table_name, r.check_name) = (p.table_name, p.check_name) AND r.passed AND NOT l.passed
    ORDER BY r.at DESC, r.id DESC LIMIT 1
) good ON true
LEFT JOIN LATERAL (
    SELECT min(r.at) AS since, count(*) AS times FROM ingest.check_results r
    WHERE (r.table_name, r.check_name) = (p.table_name, p.check_name) AND NOT r.passed AND NOT l.passed
      AND r.at >= coalesce(good.at, '-infinity') -- what the index can use; the next line decides
      AND (r.at, r.id) > (coalesce(good.at, '-infinity'), coalesce(good.id, 0))
) broken ON true
LEFT JOIN LATERAL (
    SELECT r.failed FROM ingest.check_results r
    WHERE (r.table_name, r.check_name) = (p.table_name, p.check_name) AND r.at <= now() - interval '1 day'
    ORDER BY r.at DESC, r.id DESC LIMIT 1
) yesterday ON true
LEFT JOIN imported ON imported.table_name = p.table_name;
