-- Takes back 036_failures_from_outside.

COMMENT ON COLUMN ingest.processes.kind IS
    'command line: a command that runs a job. web: the web UI and its daemon. rotation: of the encryption key. maintenance: of the database and its history.';
DELETE FROM ingest.processes WHERE kind = 'sensor';

ALTER TABLE ingest.absent_files DROP COLUMN expected;

ALTER TABLE ingest.imports DROP COLUMN outside;
