SELECT EXISTS (SELECT FROM ingest.quarantine
               WHERE table_name = %(table)s AND resolved_at IS NULL),
       EXISTS (SELECT FROM ingest.field_issues
               WHERE table_name = %(table)s AND resolved_at IS NULL AND import_id <> %(import_id)s)
