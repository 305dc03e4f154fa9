-- The newest result of every check of every table, and since when it has failed without a break.
-- The history grows with every run: the index is skipped through, one step for each pair.
WITH RECURSIVE pairs AS (
    (SELECT table_name, check_name FROM ingest.check_results ORDER BY 1, 2 LIMIT 1)
    UNION ALL
    SELECT n.table_name, n.check_name FROM pairs p CROSS JOIN LATERAL (
        SELECT r.table_name, r.check_name FROM ingest.check_results r
        WHERE (r.table_name, r.check_name) > (p.table_name, p.check_name) ORDER BY 1, 2 LIMIT 1
    ) n
)
SELECT p.table_name, p.check_name, l.passed, l.severity, l.failed, l.total, l.description, l.at, l.details,
       broken.since, broken.times, coalesce(imported.finished_at > l.at, false)
FROM pairs p
CROSS JOIN LATERAL (
    SELECT * FROM ingest.check_results r
    WHERE (r.table_name, r.check_name) = (p.table_name, p.check_name) ORDER BY r.at DESC, r.id DESC LIMIT 1
) l
LEFT JOIN LATERAL (
    SELECT r.at, r.id FROM ingest.check_results r
    WHERE (r.table_name, r.check_name) = (p.table_name, p.check_name) AND r.passed
    ORDER BY r.at DESC, r.id DESC LIMIT 1
) good ON NOT l.passed
LEFT JOIN LATERAL (
    SELECT min(r.at) AS since, count(*) AS times FROM ingest.check_results r
    WHERE (r.table_name, r.check_name) = (p.table_name, p.check_name) AND NOT r.passed
      AND (good.id IS NULL OR (r.at, r.id) > (good.at, good.id))
) broken ON NOT l.passed
LEFT JOIN LATERAL (
    SELECT i.finished_at FROM ingest.imports i
    WHERE i.table_name = p.table_name AND i.status = 'imported' ORDER BY i.id DESC LIMIT 1
) imported ON true;
