-- Takes back 029_erasure. Lines that say ERASURE stay in the trail, which nobody may change: the rule is for new ones.

ALTER TABLE audit.changes DROP CONSTRAINT changes_action, DROP CONSTRAINT changes_of_a_row_name_it;
ALTER TABLE audit.changes
    ADD CONSTRAINT changes_action
        CHECK (action IN ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'IMPORT', 'RETENTION')) NOT VALID,
    ADD CONSTRAINT changes_of_a_row_name_it
        CHECK ((action IN ('INSERT', 'UPDATE', 'DELETE')) = (row_id IS NOT NULL)) NOT VALID;
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM audit.changes WHERE action = 'ERASURE') THEN
        ALTER TABLE audit.changes VALIDATE CONSTRAINT changes_action, VALIDATE CONSTRAINT changes_of_a_row_name_it;
    END IF;
END $$;
COMMENT ON COLUMN audit.changes.action IS
    'INSERT, UPDATE or DELETE of one row; TRUNCATE of a table; IMPORT of an export into it; RETENTION: old lines of this trail were dropped.';
COMMENT ON COLUMN audit.changes.before_encrypted IS
    'Sealed JSON of the old values: of the changed columns and updated_at, or of the whole deleted row. NULL for INSERT, and where the session had no key.';

DELETE FROM ingest.tombstones WHERE import_id IS NULL;
ALTER TABLE ingest.tombstones ALTER COLUMN import_id SET NOT NULL;
COMMENT ON TABLE ingest.tombstones IS
    'Deletions at the source of rows that were never here: an older version that comes later must not come to life.';
COMMENT ON COLUMN ingest.tombstones.source_updated_at IS 'The deletion''s updated_at; NULL where it had none that can be.';
COMMENT ON COLUMN ingest.tombstones.import_id IS 'ingest.imports.id of the import that met the deletion.';
COMMENT ON COLUMN ingest.quarantine.resolution IS
    'loaded (the row is in the table now) or absent (the newest export no longer has the record).';
