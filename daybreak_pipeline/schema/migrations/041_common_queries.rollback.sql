-- Takes back 037_common_queries.

DROP FUNCTION app.find_clinicians(UUID, TIMESTAMPTZ, TIMESTAMPTZ, INTEGER, UUID, UUID, TEXT, TEXT);
DROP VIEW app.clinician_directory;

DROP FUNCTION app.find_insurances(TEXT, TEXT, INTEGER);
DROP FUNCTION app.is_spelled_like(TEXT, TEXT);
DROP VIEW app.insurance_companies;
DROP INDEX idx_clin_cred_insurances_spellings;
DROP FUNCTION app.spelled_together(TEXT, TEXT, TEXT[]);
DROP FUNCTION app.spellings(TEXT, TEXT, TEXT[]);
DROP FUNCTION app.spelled_out(TEXT);

DROP FUNCTION app.effective_contract(UUID, DATE);
DROP VIEW app.organization_contracts;

DROP VIEW app.coverage_status;
DROP INDEX idx_insurance_coverages_expiry;
DROP FUNCTION app.expires_on(JSONB);

DROP FUNCTION app.family(UUID, INTEGER);
DROP VIEW app.relatives;

DROP VIEW app.active_referrals;
DROP INDEX idx_referrals_active;
DROP FUNCTION app.is_open(TEXT[], TIMESTAMPTZ, TIMESTAMPTZ, TIMESTAMPTZ);
DROP FUNCTION app.referral_status(TEXT[], TIMESTAMPTZ, TIMESTAMPTZ, TIMESTAMPTZ, TIMESTAMPTZ);
