-- Who looked at personal data through what Daybreak offers for it: search_people, daybreak trace, quarantine show and
-- audit show --values (ADR 0006). A line of the trail like the others: append-only, kept as long, and a search sealed
-- where old values are sealed, so that a key rotation and audit.retain take it along.

ALTER TABLE audit.changes
    ADD COLUMN reading TEXT,
    ADD COLUMN rows_read BIGINT,
    DROP CONSTRAINT changes_action,
    DROP CONSTRAINT changes_of_a_row_name_it,
    DROP CONSTRAINT changes_launched_are_imports,
    ADD CONSTRAINT changes_action CHECK
        (action IN ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'IMPORT', 'RETENTION', 'ERASURE', 'READ')),
    ADD CONSTRAINT changes_of_a_row_name_it CHECK
        (action = 'READ' OR (action IN ('INSERT', 'UPDATE', 'DELETE', 'ERASURE')) = (row_id IS NOT NULL)),
    ADD CONSTRAINT changes_launched_are_imports_or_reads CHECK (launched_by IS NULL OR action IN ('IMPORT', 'READ')),
    ADD CONSTRAINT changes_reads_say_how CHECK ((action = 'READ') = (reading IS NOT NULL)),
    ADD CONSTRAINT changes_searches_are_reads CHECK (rows_read IS NULL OR action = 'READ');
COMMENT ON TABLE audit.changes IS
    'One line for each row that a client changed, erased or looked at by name, and one for each import, search, TRUNCATE and retention. Append-only, partitioned by month.';
COMMENT ON COLUMN audit.changes.table_name IS
    'The table in schema public; the dropped partition for RETENTION; ''users'' for a search, which is for people of both kinds.';
COMMENT ON COLUMN audit.changes.action IS
    'INSERT, UPDATE or DELETE of one row; TRUNCATE of a table; IMPORT of an export into it; READ of a row, or a search; RETENTION: old lines of this trail were dropped; ERASURE: personal values of one row were erased everywhere, old values in this trail among them.';
COMMENT ON COLUMN audit.changes.row_id IS
    'The row''s id. A changed id is a DELETE of the old and an INSERT of the new one. NULL for a READ that was for no single row.';
COMMENT ON COLUMN audit.changes.before_encrypted IS
    'Sealed JSON of the old values: of the changed columns and updated_at, or of the whole deleted row, but for what was erased since. For a search, of what was searched for. NULL for other lines, and where the session had no key.';
COMMENT ON COLUMN audit.changes.launched_by IS
    'For whom an IMPORT or READ was: the user that the web UI''s proxy named, ''web UI'' where all have one login, the account of the command line, or what an application set daybreak.person to. NULL for others.';
COMMENT ON COLUMN audit.changes.reading IS
    'How a READ was done: search_people, trace, quarantine show N, audit show --values. NULL for others.';
COMMENT ON COLUMN audit.changes.rows_read IS 'How many people a search found; each has a line as well. NULL for others.';

CREATE FUNCTION audit.record_reads(
    reading TEXT, tables TEXT[], row_ids TEXT[], is_search BOOLEAN DEFAULT false, query TEXT DEFAULT NULL
) RETURNS BOOLEAN LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    person TEXT := left(nullif(current_setting('daybreak.person', true), ''), 200);
BEGIN
    -- A standby, or a session that says so, cannot write. Whoever asks gets the answer, and both ends are told.
    IF current_setting('transaction_read_only')::boolean THEN
        RAISE LOG 'not in the audit trail, since the transaction is read-only: % by %', reading, session_user;
        RAISE WARNING 'this reading (%) is not in the audit trail, since the transaction is read-only', reading;
        RETURN false;
    END IF;
    IF is_search THEN
        INSERT INTO audit.changes (table_name, action, reading, launched_by, rows_read, before_encrypted)
        VALUES ('users', 'READ', reading, person, coalesce(cardinality(row_ids), 0),
                privacy.seal(jsonb_build_object('query', query)::text, privacy.key('seal')));
    END IF;
    INSERT INTO audit.changes (table_name, action, row_id, reading, launched_by)
    SELECT DISTINCT r.table_name, 'READ', r.row_id, record_reads.reading, person
    FROM unnest(tables, row_ids) AS r (table_name, row_id);
    RETURN true;
END $$;
COMMENT ON FUNCTION audit.record_reads(TEXT, TEXT[], TEXT[], BOOLEAN, TEXT) IS
    'Writes a READ line for each row, and one for a search. Returns false, with a warning, where the transaction is read-only.';
REVOKE ALL ON FUNCTION audit.record_reads(TEXT, TEXT[], TEXT[], BOOLEAN, TEXT) FROM PUBLIC;

ALTER FUNCTION search_people(TEXT, INTEGER) SET SCHEMA privacy;
ALTER FUNCTION privacy.search_people(TEXT, INTEGER) RENAME TO people_named;
COMMENT ON FUNCTION privacy.people_named(TEXT, INTEGER) IS
    'What search_people finds, without a line in the audit trail: nobody but the tables'' owner may call it.';

CREATE FUNCTION search_people(query TEXT, max_rows INTEGER DEFAULT 50) RETURNS TABLE (
    id UUID, user_type INTEGER, email TEXT, first_name TEXT, preferred_name TEXT, middle_name TEXT, last_name TEXT
) LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    tables TEXT[] := '{}';
    row_ids TEXT[] := '{}';
BEGIN
    FOR id, user_type, email, first_name, preferred_name, middle_name, last_name IN
        SELECT f.* FROM privacy.people_named(query, max_rows) f
    LOOP
        tables := tables || CASE user_type WHEN 1 THEN 'patients_and_guardians' ELSE 'clinicians' END;
        row_ids := row_ids || id::text;
        RETURN NEXT;
    END LOOP;
    PERFORM audit.record_reads('search_people', tables, row_ids, true, query);
END $$;
COMMENT ON FUNCTION search_people(TEXT, INTEGER) IS
    'Patients and guardians (user_type 1) and clinicians (2) with every word of the query in their names, whatever '
    'accents, case and order; mar* finds beginnings of three letters or more, and a query with @ also parts of an email. '
    'Whole words first, then by id. Needs the key; rows deleted at the source are left out. '
    'The search, sealed, and whom it found go into the audit trail.';
-- It unseals for whoever may call it.
REVOKE ALL ON FUNCTION search_people(TEXT, INTEGER) FROM PUBLIC;

-- Who may search goes on searching, and on the record only.
DO $$
DECLARE
    grantee REGROLE;
BEGIN
    FOR grantee IN
        SELECT a.grantee::regrole FROM pg_proc p, aclexplode(p.proacl) a
        WHERE p.oid = 'privacy.people_named(text, integer)'::regprocedure AND a.grantee NOT IN (0, p.proowner) AND a.privilege_type = 'EXECUTE'
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION public.search_people(TEXT, INTEGER) TO %s', grantee);
        EXECUTE format('REVOKE ALL ON FUNCTION privacy.people_named(TEXT, INTEGER) FROM %s', grantee);
    END LOOP;
END $$;
