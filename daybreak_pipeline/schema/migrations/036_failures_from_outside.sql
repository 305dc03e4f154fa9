-- A failed import says whether the reason lay outside the data: once that is right, the same file is asked for again. An
-- absent file says whether it was to be there. And the sensor that watches the export says that it lives.

ALTER TABLE ingest.imports ADD COLUMN outside BOOLEAN NOT NULL DEFAULT false;
COMMENT ON COLUMN ingest.imports.outside IS
    'Whether it failed for a reason outside the data, such as a full disk: the same file may be imported once that is right.';

ALTER TABLE ingest.absent_files ADD COLUMN expected BOOLEAN NOT NULL DEFAULT true;
COMMENT ON COLUMN ingest.absent_files.expected IS
    'Whether it was missed in an export that was to be whole; false where all of them had some tables only.';

COMMENT ON COLUMN ingest.processes.kind IS
    'command line: a command that runs a job. web: the web UI and its daemon. sensor: what watches the export. rotation: of the encryption key. maintenance: of the database and its history.';
