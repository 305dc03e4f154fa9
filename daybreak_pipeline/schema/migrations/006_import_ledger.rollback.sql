-- Takes back 006_import_ledger: the ledger and quarantine go, the plan's rows stay.

DO $$
DECLARE
    target REGCLASS;
BEGIN
    FOR target IN
        SELECT c.oid::regclass FROM pg_class c
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' ORDER BY c.relname
    LOOP
        EXECUTE format('ALTER TABLE %s DROP COLUMN _source_hash, DROP COLUMN _import_id, '
                       'DROP COLUMN _record_number', target);
    END LOOP;
END $$;

DROP FUNCTION ingest.with_export_columns(JSONB, JSONB);
DROP FUNCTION ingest.cast_fault(TEXT, ANYELEMENT);
DROP FUNCTION ingest.try_cast(TEXT, ANYELEMENT);
DROP FUNCTION ingest.strict_cast(TEXT, ANYELEMENT);
DROP FUNCTION ingest.text_array(TEXT);
DROP FUNCTION ingest.strict_date(TEXT);
DROP FUNCTION ingest.strict_time(TEXT);
DROP FUNCTION ingest.is_unique(REGCLASS, TEXT);
DROP FUNCTION ingest.attempt(TEXT);
DROP TABLE ingest.field_issues;
DROP TABLE ingest.quarantine;
DROP TABLE ingest.imports;
DROP SCHEMA ingest;
