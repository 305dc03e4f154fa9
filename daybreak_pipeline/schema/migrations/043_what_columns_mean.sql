-- What the columns of views and of the pipeline's own tables mean, so that psql, every BI tool and docs/data-dictionary.md say it.
-- A view that shows a column of a table under the same name takes the table's comment, below.

-- Where a comment names codes (1 = guardian), all of them, and no guess.
COMMENT ON COLUMN clinician_availabilities.day_of_week IS
    'Day of the week: 0 = Sunday, 1 = Monday, 2 = Tuesday, 3 = Wednesday, 4 = Thursday, 5 = Friday, 6 = Saturday.';
COMMENT ON COLUMN insurance_coverages.level IS
    'Rank among the patient''s coverages, 1 by default, which is presumably the primary one; its values are not documented.';

COMMENT ON COLUMN users.id IS 'patients_and_guardians.id or clinicians.id; user_type says which.';
COMMENT ON COLUMN users.role IS 'Code: 1 = patient or guardian, 2 = clinician.';
COMMENT ON COLUMN users.user_type IS 'Which table the row is of: 1 = patient or guardian, 2 = clinician.';

COMMENT ON COLUMN app.active_referrals.organization_name IS 'Name of the organization; NULL where it is deleted at the source.';
COMMENT ON COLUMN app.active_referrals.district_id IS 'The organization itself where it is a district, else the one that it belongs to: organizations.id.';
COMMENT ON COLUMN app.active_referrals.status IS
    'The furthest step that a label or a time says: referred, onboarding_completed, ready_for_scheduling, scheduled or enrolled.';
COMMENT ON COLUMN app.active_referrals.member_ids IS 'The patients whom the referral is about: patients_and_guardians.id.';

COMMENT ON COLUMN app.relatives.person_id IS 'The person whose relative it is: patients_and_guardians.id or clinicians.id.';
COMMENT ON COLUMN app.relatives.relative_id IS 'The relative: patients_and_guardians.id or clinicians.id.';
COMMENT ON COLUMN app.relatives.is_guardian IS 'Whether the relative is a guardian of the person.';
COMMENT ON COLUMN app.relatives.is_child IS 'Whether the relative is a child of the person.';
COMMENT ON COLUMN app.relatives.person_label IS 'What the person is in the pair: 1 = guardian, 2 = child, 12 = both.';
COMMENT ON COLUMN app.relatives.relative_label IS 'What the relative is in the pair: 1 = guardian, 2 = child, 12 = both.';
COMMENT ON COLUMN app.relatives.relative_user_type IS
    'Who the relative is: 1 = patient or guardian, 2 = clinician. NULL where nobody has the id.';
COMMENT ON COLUMN app.relatives.email IS 'The relative''s email address. Personal data.';
COMMENT ON COLUMN app.relatives.first_name IS 'The relative''s first name; needs the key. Personal data.';
COMMENT ON COLUMN app.relatives.last_name IS 'The relative''s last name; needs the key. Personal data.';
COMMENT ON COLUMN app.relatives.kinship_id IS 'The pair: kinships.id.';

COMMENT ON COLUMN app.coverage_status.payer_name IS 'Name of the insurance company in OpenPM.';
COMMENT ON COLUMN app.coverage_status.eligibility_name IS 'The eligibility in a word: unknown, submitted, eligible or expired.';
COMMENT ON COLUMN app.coverage_status.expires_on IS 'The last day of the coverage, where profile_data says it.';
COMMENT ON COLUMN app.coverage_status.days_until_expiry IS 'Days from today to that day; negative once it is over.';
COMMENT ON COLUMN app.coverage_status.is_expired IS 'Whether the eligibility, a label or that day says that it has expired.';

COMMENT ON COLUMN app.organization_contracts.held_by IS
    'The organization that has the contract, which is this one or its district: organizations.id.';
COMMENT ON COLUMN app.organization_contracts.is_own IS 'Whether that is this organization itself.';

COMMENT ON COLUMN app.insurance_companies.payer_name IS 'Name of the insurance in OpenPM.';
COMMENT ON COLUMN app.insurance_companies.parent_id IS 'The insurance that this one belongs to: clinician_credentialed_insurances.id.';
COMMENT ON COLUMN app.insurance_companies.parent_name IS 'Its name.';
COMMENT ON COLUMN app.insurance_companies.spellings IS 'All its names and their initials as search compares them, in one text.';

COMMENT ON COLUMN app.clinician_directory.insurance_ids IS
    'The insurances that the clinician takes: clinician_credentialed_insurances.id.';

COMMENT ON COLUMN reporting.onboarding_funnel.id IS 'Period, week, scope and ids in one text: the key of the row.';
COMMENT ON COLUMN reporting.onboarding_funnel.period IS 'What is counted: week (one week) or all (all time).';
COMMENT ON COLUMN reporting.onboarding_funnel.scope IS 'For whom: school (one organization), district (all of its schools) or all.';
COMMENT ON COLUMN reporting.onboarding_funnel.week IS 'The Monday on which the week of the referrals begins, in UTC; NULL for all time.';
COMMENT ON COLUMN reporting.onboarding_funnel.district_id IS 'The district: organizations.id. NULL in scope all, and for a school without one.';
COMMENT ON COLUMN reporting.onboarding_funnel.district_name IS 'Name of the district.';
COMMENT ON COLUMN reporting.onboarding_funnel.organization_id IS 'The school: organizations.id. NULL in the other scopes.';
COMMENT ON COLUMN reporting.onboarding_funnel.organization_name IS 'Name of the school.';
COMMENT ON COLUMN reporting.onboarding_funnel.referred IS 'How many referrals were made.';
COMMENT ON COLUMN reporting.onboarding_funnel.onboarding_completed IS 'How many of them came as far as completed onboarding.';
COMMENT ON COLUMN reporting.onboarding_funnel.ready_for_scheduling IS 'How many came as far as ready for scheduling.';
COMMENT ON COLUMN reporting.onboarding_funnel.scheduled IS 'How many came as far as a scheduled session.';
COMMENT ON COLUMN reporting.onboarding_funnel.enrolled IS 'How many were enrolled.';
COMMENT ON COLUMN reporting.onboarding_funnel.rejected IS 'How many were rejected.';
COMMENT ON COLUMN reporting.onboarding_funnel.median_days_to_onboarding IS 'Median days from the referral to completed onboarding.';
COMMENT ON COLUMN reporting.onboarding_funnel.median_days_to_ready IS 'Median days from completed onboarding to ready for scheduling.';
COMMENT ON COLUMN reporting.onboarding_funnel.median_days_to_scheduled IS 'Median days from ready for scheduling to scheduled.';
COMMENT ON COLUMN reporting.onboarding_funnel.median_days_to_enrolled IS 'Median days from scheduled to enrolled.';
COMMENT ON COLUMN reporting.onboarding_funnel.median_days_in_all IS 'Median days from the referral to enrolled.';

COMMENT ON COLUMN reporting.coverage_by_insurer.id IS 'Eligibility, company and kind in one text: the key of the row.';
COMMENT ON COLUMN reporting.coverage_by_insurer.eligibility_name IS 'The eligibility in a word: unknown, submitted, eligible or expired.';
COMMENT ON COLUMN reporting.coverage_by_insurer.coverages IS 'How many coverages.';
COMMENT ON COLUMN reporting.coverage_by_insurer.patients IS 'How many different patients have them.';

COMMENT ON COLUMN ingest.imports.id IS 'Number of the import.';
COMMENT ON COLUMN ingest.imports.table_name IS 'The table that was imported.';
COMMENT ON COLUMN ingest.imports.source_bytes IS 'Size of the source.';
COMMENT ON COLUMN ingest.imports.started_at IS 'When the import began.';
COMMENT ON COLUMN ingest.imports.finished_at IS 'When it ended.';
COMMENT ON COLUMN ingest.imports.error IS 'Why it failed, and what to do.';
COMMENT ON COLUMN ingest.imports.rows_read IS 'Records that were read: the sum of the next eight numbers.';
COMMENT ON COLUMN ingest.imports.rows_inserted IS 'Records that became new rows.';
COMMENT ON COLUMN ingest.imports.rows_updated IS 'Records that changed a row.';
COMMENT ON COLUMN ingest.imports.rows_unchanged IS 'Records that the table had already.';
COMMENT ON COLUMN ingest.imports.rows_stale IS 'Records older than the row, its deletion or an edit.';
COMMENT ON COLUMN ingest.imports.rows_duplicate IS 'Older versions of another record of the source.';
COMMENT ON COLUMN ingest.imports.rows_skipped_deleted IS 'Records marked as deleted, of rows that were never here.';
COMMENT ON COLUMN ingest.imports.rows_blank IS 'Records without any value.';
COMMENT ON COLUMN ingest.imports.rows_quarantined IS 'Records that do not fit the schema: see ingest.quarantine.';
COMMENT ON COLUMN ingest.imports.field_issues IS 'Values that were repaired so that their record could load: see ingest.field_issues.';

COMMENT ON COLUMN ingest.quarantine.id IS 'Number of the record in quarantine.';
COMMENT ON COLUMN ingest.quarantine.table_name IS 'The table that the record is for.';
COMMENT ON COLUMN ingest.quarantine.row_id IS 'The record''s id; NULL where it has none that can be.';
COMMENT ON COLUMN ingest.quarantine.record_encrypted IS 'The whole record as JSON, sealed.';
COMMENT ON COLUMN ingest.quarantine.first_seen_at IS 'When an import met the record first.';
COMMENT ON COLUMN ingest.quarantine.last_seen_at IS 'When an import met it last.';
COMMENT ON COLUMN ingest.quarantine.resolved_at IS 'When it was settled; NULL while it waits.';

COMMENT ON COLUMN ingest.field_issues.id IS 'Number of the issue.';
COMMENT ON COLUMN ingest.field_issues.import_id IS 'ingest.imports.id of the import that repaired the value.';
COMMENT ON COLUMN ingest.field_issues.table_name IS 'The table.';
COMMENT ON COLUMN ingest.field_issues.row_id IS 'The row''s id.';
COMMENT ON COLUMN ingest.field_issues.column_name IS 'The column.';
COMMENT ON COLUMN ingest.field_issues.value_encrypted IS 'The value as it was in the source, sealed.';
COMMENT ON COLUMN ingest.field_issues.first_seen_at IS 'When it was found.';
COMMENT ON COLUMN ingest.field_issues.resolved_at IS 'When it was settled; NULL while it is open.';

COMMENT ON COLUMN ingest.check_results.id IS 'Number of the result.';
COMMENT ON COLUMN ingest.check_results.table_name IS 'The table that was checked.';
COMMENT ON COLUMN ingest.check_results.check_name IS 'The check.';
COMMENT ON COLUMN ingest.check_results.passed IS 'Whether it found nothing.';
COMMENT ON COLUMN ingest.check_results.at IS 'When it ran.';

COMMENT ON COLUMN ingest.accepted_findings.id IS 'Number of the acceptance.';
COMMENT ON COLUMN ingest.accepted_findings.accepted_at IS 'When it was accepted.';
COMMENT ON COLUMN ingest.absent_files.table_name IS 'The table whose file is absent.';
COMMENT ON COLUMN ingest.missing_rows.table_name IS 'The table.';
COMMENT ON COLUMN ingest.missing_rows.row_id IS 'The row''s id.';
COMMENT ON COLUMN ingest.tombstones.table_name IS 'The table that the row was deleted from.';
COMMENT ON COLUMN ingest.alerts.id IS 'Number of the alert.';
COMMENT ON COLUMN ingest.alerts.at IS 'When it was sent.';

-- The comments of columns that a view shows as a table has them. Where several tables have one, the first counts.
DO $$
DECLARE
    found RECORD;
BEGIN
    FOR found IN
        SELECT DISTINCT ON (v.attrelid, v.attnum) v.attrelid::regclass AS view, v.attname,
               CASE WHEN v.attname = 'id' AND shown.place = 1 THEN split_part(shown.source, '.', 2) || '.id'
                    ELSE col_description(t.attrelid, t.attnum) END AS meaning
        FROM (VALUES ('app.patients_and_guardians', 'public.patients_and_guardians', 0),
                     ('app.clinicians', 'public.clinicians', 0),
                     ('app.insurance_coverages', 'public.insurance_coverages', 0),
                     ('public.users', 'public.patients_and_guardians', 1),
                     ('app.active_referrals', 'public.referrals', 1),
                     ('app.relatives', 'public.kinships', 1),
                     ('app.coverage_status', 'public.insurance_coverages', 1),
                     ('app.organization_contracts', 'public.org_contracts', 1),
                     ('app.organization_contracts', 'public.contracts', 2),
                     ('app.insurance_companies', 'public.clinician_credentialed_insurances', 1),
                     ('app.clinician_directory', 'public.clinicians', 1),
                     ('app.onboarding_funnel', 'reporting.onboarding_funnel', 0),
                     ('reporting.coverage_by_insurer', 'public.insurance_coverages', 1),
                     ('ingest.file_imports', 'ingest.imports', 0)) AS shown (view, source, place)
        JOIN pg_attribute v ON v.attrelid = shown.view::regclass AND v.attnum > 0 AND NOT v.attisdropped
        JOIN pg_attribute t ON t.attrelid = shown.source::regclass AND t.attname = v.attname AND NOT t.attisdropped
        WHERE col_description(v.attrelid, v.attnum) IS NULL AND col_description(t.attrelid, t.attnum) IS NOT NULL
        ORDER BY v.attrelid, v.attnum, shown.place
    LOOP
        EXECUTE format('COMMENT ON COLUMN %s.%I IS %L', found.view, found.attname, found.meaning);
    END LOOP;
END $$;
