-- Takes back 031_reads. Its lines go with it: the trail as it was has no place for them.

DO $$
DECLARE
    grantee REGROLE;
BEGIN
    FOR grantee IN
        SELECT a.grantee::regrole FROM pg_proc p, aclexplode(p.proacl) a
        WHERE p.oid = 'public.search_people(text, integer)'::regprocedure AND a.grantee NOT IN (0, p.proowner) AND a.privilege_type = 'EXECUTE'
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION privacy.people_named(TEXT, INTEGER) TO %s', grantee);
        EXECUTE format('REVOKE ALL ON FUNCTION public.search_people(TEXT, INTEGER) FROM %s', grantee);
    END LOOP;
END $$;

DROP FUNCTION search_people(TEXT, INTEGER);
ALTER FUNCTION privacy.people_named(TEXT, INTEGER) RENAME TO search_people;
ALTER FUNCTION privacy.search_people(TEXT, INTEGER) SET SCHEMA public;
COMMENT ON FUNCTION search_people(TEXT, INTEGER) IS
    'Patients and guardians (user_type 1) and clinicians (2) with every word of the query in their names, whatever '
    'accents, case and order; mar* finds beginnings of three letters or more, and a query with @ also parts of an email. '
    'Whole words first, then by id. Needs the key; rows deleted at the source are left out.';
DROP FUNCTION audit.record_reads(TEXT, TEXT[], TEXT[], BOOLEAN, TEXT);

DO $$
DECLARE
    targets REGCLASS[] := ARRAY(SELECT i.inhrelid::regclass FROM pg_inherits i WHERE i.inhparent = 'audit.changes'::regclass);
    target REGCLASS;
BEGIN
    FOREACH target IN ARRAY targets LOOP
        EXECUTE format('ALTER TABLE %s DISABLE TRIGGER append_only', target);
    END LOOP;
    DELETE FROM audit.changes WHERE action = 'READ';
    FOREACH target IN ARRAY targets LOOP
        EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER append_only', target);
    END LOOP;
END $$;

ALTER TABLE audit.changes
    DROP CONSTRAINT changes_reads_say_how,
    DROP CONSTRAINT changes_searches_are_reads,
    DROP CONSTRAINT changes_action,
    DROP CONSTRAINT changes_of_a_row_name_it,
    DROP CONSTRAINT changes_launched_are_imports_or_reads,
    DROP COLUMN reading,
    DROP COLUMN rows_read,
    ADD CONSTRAINT changes_action CHECK (action IN ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'IMPORT', 'RETENTION', 'ERASURE')),
    ADD CONSTRAINT changes_of_a_row_name_it CHECK ((action IN ('INSERT', 'UPDATE', 'DELETE', 'ERASURE')) = (row_id IS NOT NULL)),
    ADD CONSTRAINT changes_launched_are_imports CHECK (launched_by IS NULL OR action = 'IMPORT');
COMMENT ON TABLE audit.changes IS
    'One line for each row that a client changed, and one for each import, TRUNCATE and retention. Append-only, partitioned by month.';
COMMENT ON COLUMN audit.changes.table_name IS 'The changed table in schema public; the dropped partition for RETENTION.';
COMMENT ON COLUMN audit.changes.action IS
    'INSERT, UPDATE or DELETE of one row; TRUNCATE of a table; IMPORT of an export into it; RETENTION: old lines of this trail were dropped; ERASURE: personal values of one row were erased everywhere, old values in this trail among them.';
COMMENT ON COLUMN audit.changes.row_id IS 'The row''s id. A changed id is a DELETE of the old and an INSERT of the new one.';
COMMENT ON COLUMN audit.changes.before_encrypted IS
    'Sealed JSON of the old values: of the changed columns and updated_at, or of the whole deleted row, but for what was erased since. NULL for INSERT and ERASURE, and where the session had no key.';
COMMENT ON COLUMN audit.changes.launched_by IS
    'Who launched an IMPORT in the web UI: the user that its proxy named, or ''web UI'' where all have one login. NULL for all others.';
