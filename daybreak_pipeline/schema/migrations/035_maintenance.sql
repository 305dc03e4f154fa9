-- Which statements are slow, by their text without values: the extension pg_stat_statements, in a schema that only those
-- who monitor may use. Where this role may not make it, or the server lacks it, nothing is missing for an import, and
-- daybreak doctor says what an administrator can do.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_stat_statements')
       OR NOT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_stat_statements') THEN
        RETURN;
    END IF;
    CREATE SCHEMA statements;
    COMMENT ON SCHEMA statements IS 'The extension pg_stat_statements, for those who monitor.';
    GRANT USAGE ON SCHEMA statements TO pg_monitor;
    CREATE EXTENSION pg_stat_statements SCHEMA statements;
EXCEPTION WHEN insufficient_privilege OR undefined_file OR feature_not_supported OR duplicate_schema THEN
    RAISE NOTICE 'pg_stat_statements was not made: %', SQLSTATE;
END $$;

COMMENT ON COLUMN ingest.processes.kind IS
    'command line: a command that runs a job. web: the web UI and its daemon. rotation: of the encryption key. maintenance: of the database and its history.';
