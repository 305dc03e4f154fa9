-- Locks that others must not take are rows of a table that only the owner may touch. An advisory lock is anybody's: who
-- could connect could keep every import waiting.

CREATE TABLE ingest.locks (
    name TEXT PRIMARY KEY
);
COMMENT ON TABLE ingest.locks IS
    'The pipeline''s locks, one row each, held FOR UPDATE or FOR SHARE until the transaction ends. The name says what is locked.';
INSERT INTO ingest.locks (name) VALUES ('key'), ('roles'), ('audit'), ('rotation');
INSERT INTO ingest.locks (name)
SELECT 'import ' || c.relname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
WHERE a.attname = '_source_hash' AND c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
ORDER BY c.relname;

CREATE TABLE ingest.processes (
    id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
    kind TEXT NOT NULL,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    started_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    seen_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE ingest.processes IS
    'The processes of the pipeline that run jobs now. Each renews its row every few seconds, and takes it away at its end.';
COMMENT ON COLUMN ingest.processes.kind IS 'command line: a command that runs a job. web: the web UI and its daemon. rotation: of the encryption key.';
COMMENT ON COLUMN ingest.processes.seen_at IS 'When it last said that it lives.';

DO $$
BEGIN
    EXECUTE replace(pg_get_functiondef('audit.ensure_partitions(integer)'::regprocedure),
                    'PERFORM pg_advisory_xact_lock(hashtext(''daybreak.audit''));',
                    'PERFORM FROM ingest.locks l WHERE l.name = ''audit'' FOR UPDATE;');
END $$;
