-- Who launched an import in the web UI, where a proxy names its users: the session of an import is always the importer's.

ALTER TABLE audit.changes ADD COLUMN launched_by TEXT;
ALTER TABLE audit.changes ADD CONSTRAINT changes_launched_are_imports CHECK (launched_by IS NULL OR action = 'IMPORT');
COMMENT ON COLUMN audit.changes.launched_by IS
    'Who launched an IMPORT in the web UI: the user that its proxy named, or ''web UI'' where all have one login. NULL for all others.';
