-- What each migration was when it was applied: one that is changed afterwards would not be applied again, and nobody
-- would notice.

CREATE TABLE migrations.applied_files (
    revision TEXT PRIMARY KEY,
    sha256 TEXT NOT NULL,
    applied_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
COMMENT ON TABLE migrations.applied_files IS 'The migrations that were applied, from 017 on.';
COMMENT ON COLUMN migrations.applied_files.revision IS 'Number of the migration, such as 017.';
COMMENT ON COLUMN migrations.applied_files.sha256 IS 'SHA-256 of its SQL file as it was applied, in hex, its lines ending with LF.';
COMMENT ON COLUMN migrations.applied_files.applied_at IS 'When its transaction began.';
