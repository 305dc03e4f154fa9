-- Takes back 035_maintenance. What an administrator has made elsewhere stays.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
               WHERE e.extname = 'pg_stat_statements' AND n.nspname = 'statements'
                 AND pg_has_role(e.extowner, 'USAGE') AND pg_has_role(n.nspowner, 'USAGE')) THEN
        DROP EXTENSION pg_stat_statements;
        DROP SCHEMA statements;
    END IF;
END $$;

COMMENT ON COLUMN ingest.processes.kind IS
    'command line: a command that runs a job. web: the web UI and its daemon. rotation: of the encryption key.';
