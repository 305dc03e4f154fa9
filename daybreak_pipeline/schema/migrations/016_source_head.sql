-- A file that differs from the last one already in its beginning is known to have changed at once: an import of it
-- need not wait until all of it has been read for its fingerprint.

ALTER TABLE ingest.imports ADD COLUMN source_head_sha256 TEXT;
COMMENT ON COLUMN ingest.imports.source_head_sha256 IS
    'SHA-256 of the first megabyte of the source, of each part for a directory, in hex; NULL for imports before 016.';
