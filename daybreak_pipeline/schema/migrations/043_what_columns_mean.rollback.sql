DO $$
DECLARE
    found RECORD;
BEGIN
    FOR found IN
        SELECT a.attrelid::regclass AS relation, a.attname
        FROM unnest(ARRAY['public.users', 'app.patients_and_guardians', 'app.clinicians', 'app.insurance_coverages',
                          'app.active_referrals', 'app.relatives', 'app.coverage_status', 'app.organization_contracts',
                          'app.insurance_companies', 'app.clinician_directory', 'app.onboarding_funnel',
                          'reporting.onboarding_funnel', 'reporting.coverage_by_insurer', 'ingest.file_imports']) AS view
        JOIN pg_attribute a ON a.attrelid = view::regclass AND a.attnum > 0 AND NOT a.attisdropped
        WHERE (view, a.attname) <> ('ingest.file_imports', 'loaded') -- said so before
        UNION ALL
        SELECT relation::regclass, column_name
        FROM (VALUES ('ingest.imports', ARRAY['id', 'table_name', 'source_bytes', 'started_at', 'finished_at', 'error', 'rows_read',
                         'rows_inserted', 'rows_updated', 'rows_unchanged', 'rows_stale', 'rows_duplicate', 'rows_skipped_deleted',
                         'rows_blank', 'rows_quarantined', 'field_issues']),
                     ('ingest.quarantine', ARRAY['id', 'table_name', 'row_id', 'record_encrypted', 'first_seen_at', 'last_seen_at',
                         'resolved_at']),
                     ('ingest.field_issues', ARRAY['id', 'import_id', 'table_name', 'row_id', 'column_name', 'value_encrypted',
                         'first_seen_at', 'resolved_at']),
                     ('ingest.check_results', ARRAY['id', 'table_name', 'check_name', 'passed', 'at']),
                     ('ingest.accepted_findings', ARRAY['id', 'accepted_at']),
                     ('ingest.absent_files', ARRAY['table_name']),
                     ('ingest.missing_rows', ARRAY['table_name', 'row_id']),
                     ('ingest.tombstones', ARRAY['table_name']),
                     ('ingest.alerts', ARRAY['id', 'at'])) AS own (relation, columns), unnest(own.columns) AS column_name
    LOOP
        EXECUTE format('COMMENT ON COLUMN %s.%I IS NULL', found.relation, found.attname);
    END LOOP;
END $$;
COMMENT ON COLUMN clinician_availabilities.day_of_week IS
    'Day of the week: 0 = Sunday, 1 = Monday, and so on to 6 = Saturday.';
COMMENT ON COLUMN insurance_coverages.level IS
    'Rank among the patient''s coverages, 1 by default (presumably 1 = primary); its values are not '
    'documented.';
