-- A table whose file is missing from an export keeps its rows: this says since when it has been without one. The ledger
-- has rows of files only.

CREATE TABLE ingest.absent_files (
    table_name TEXT PRIMARY KEY,
    since TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    last_missed_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    run_id TEXT
);
COMMENT ON TABLE ingest.absent_files IS
    'Tables whose file was missing when it was last looked for; the next file of the table, good or bad, takes its row away.';
COMMENT ON COLUMN ingest.absent_files.since IS 'When the file was missed first.';
COMMENT ON COLUMN ingest.absent_files.last_missed_at IS 'When the file was missed last.';
COMMENT ON COLUMN ingest.absent_files.run_id IS 'Dagster run that missed it last.';
