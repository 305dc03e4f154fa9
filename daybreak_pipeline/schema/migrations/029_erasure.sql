-- daybreak erase: one person's values go everywhere at once, and the trail says so without one of them.

ALTER TABLE audit.changes DROP CONSTRAINT changes_action, DROP CONSTRAINT changes_of_a_row_name_it;
ALTER TABLE audit.changes
    ADD CONSTRAINT changes_action
        CHECK (action IN ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'IMPORT', 'RETENTION', 'ERASURE')),
    ADD CONSTRAINT changes_of_a_row_name_it
        CHECK ((action IN ('INSERT', 'UPDATE', 'DELETE', 'ERASURE')) = (row_id IS NOT NULL));
COMMENT ON COLUMN audit.changes.action IS
    'INSERT, UPDATE or DELETE of one row; TRUNCATE of a table; IMPORT of an export into it; RETENTION: old lines of this trail were dropped; ERASURE: personal values of one row were erased everywhere, old values in this trail among them.';
COMMENT ON COLUMN audit.changes.before_encrypted IS
    'Sealed JSON of the old values: of the changed columns and updated_at, or of the whole deleted row, but for what was erased since. NULL for INSERT and ERASURE, and where the session had no key.';

-- Who was erased and never had a row: no older record of theirs comes to life.
ALTER TABLE ingest.tombstones ALTER COLUMN import_id DROP NOT NULL;
COMMENT ON TABLE ingest.tombstones IS
    'Deletions at the source of rows that were never here, and erasures of people without a row: an older version that comes later must not come to life.';
COMMENT ON COLUMN ingest.tombstones.source_updated_at IS
    'The deletion''s updated_at; NULL where it had none that can be. When a person was erased.';
COMMENT ON COLUMN ingest.tombstones.import_id IS 'ingest.imports.id of the import that met the deletion; NULL for an erasure.';
COMMENT ON COLUMN ingest.quarantine.resolution IS
    'loaded (the row is in the table now), superseded (the row is newer), absent (the newest export no longer has the record) or erased (its values are gone).';
