-- Takes back 036_accepted_findings: every accepted finding is open again.

DROP TABLE ingest.accepted_findings;
COMMENT ON COLUMN audit.changes.table_name IS
    'The table in schema public; the dropped partition for RETENTION; ''users'' for a search, which is for people of both kinds.';
