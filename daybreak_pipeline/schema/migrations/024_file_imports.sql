-- What an import of a file is, said once: a look at a file that did not fail. Trying quarantined records again is none.
CREATE VIEW ingest.file_imports AS
SELECT *, status = 'imported' AS loaded FROM ingest.imports
WHERE source_sha256 IS NOT NULL AND status <> 'failed';
COMMENT ON VIEW ingest.file_imports IS
    'The imports that looked at a file and did not fail, of ingest.imports. The newest of a table that loaded is what its rows are of.';
COMMENT ON COLUMN ingest.file_imports.loaded IS
    'Whether the file was loaded; if not, it held what the table was loaded from already.';
