-- Takes back 026_locks.

DO $$
BEGIN
    EXECUTE replace(pg_get_functiondef('audit.ensure_partitions(integer)'::regprocedure),
                    'PERFORM FROM ingest.locks l WHERE l.name = ''audit'' FOR UPDATE;',
                    'PERFORM pg_advisory_xact_lock(hashtext(''daybreak.audit''));');
END $$;

DROP TABLE ingest.processes;
DROP TABLE ingest.locks;
