WITH last AS (
    SELECT id, started_at, schema_version FROM ingest.imports
    WHERE table_name = %(table)s AND status = 'imported' ORDER BY id DESC LIMIT 1
), changed AS (
    SELECT EXISTS (SELECT FROM ingest.imports parent, last
                   WHERE parent.table_name = ANY(%(parents)s) AND parent.status = 'imported' AND parent.rows_inserted > 0
                     AND (parent.id > last.id OR parent.finished_at > last.started_at)) AS parents,
           EXISTS (SELECT FROM last WHERE schema_version <> %(version)s) AS migrated
)
SELECT changed.parents AND EXISTS (
           SELECT FROM ingest.field_issues
           WHERE table_name = %(table)s AND resolved_at IS NULL AND code = 'dangling_reference'),
       EXISTS (SELECT FROM ingest.quarantine
               WHERE table_name = %(table)s AND resolved_at IS NULL AND row_id IS NOT NULL
               AND (changed.migrated OR changed.parents AND reasons @> '[{"code": "missing_parent"}]'))
FROM changed
