UPDATE ingest.quarantine SET resolved_at = now(), resolution = 'absent'
WHERE table_name = %(table)s AND resolved_at IS NULL AND import_id <> %(import_id)s
  AND row_id IS NULL AND %(whole_file)s
