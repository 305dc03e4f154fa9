-- updated_at moves with every change of a row (the plan, 1.3 "Constraints & Triggers"), under its names.
-- Corrected: as the plan writes it, the trigger would also replace the source's timestamp with the time of
-- the import, and no later import could tell which record is newer.

CREATE FUNCTION update_updated_at_column() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- The importer names its own transaction here. The setting holds the transaction's id, not a mere "on",
    -- so that one left behind in a pooled session switches nothing off for whoever comes next.
    IF current_setting('daybreak.import_xid', true) = pg_current_xact_id()::text THEN
        RETURN NEW;
    END IF;
    NEW.updated_at = now();
    RETURN NEW;
END;
$$;

COMMENT ON FUNCTION update_updated_at_column() IS
    'Sets updated_at to the time of the transaction, except in an import''s own transaction '
    '(daybreak.import_xid holds its id), where the source''s timestamp stays.';

CREATE TRIGGER update_patients_guardians_updated_at BEFORE UPDATE ON patients_and_guardians
    FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();
CREATE TRIGGER update_clinicians_updated_at BEFORE UPDATE ON clinicians
    FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();
CREATE TRIGGER update_kinships_updated_at BEFORE UPDATE ON kinships
    FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();
CREATE TRIGGER update_questionnaires_updated_at BEFORE UPDATE ON questionnaires
    FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();
CREATE TRIGGER update_clin_cred_insurances_updated_at BEFORE UPDATE ON clinician_credentialed_insurances
    FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();
CREATE TRIGGER update_insurance_coverages_updated_at BEFORE UPDATE ON insurance_coverages
    FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();
CREATE TRIGGER update_organizations_updated_at BEFORE UPDATE ON organizations
    FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();
CREATE TRIGGER update_contracts_updated_at BEFORE UPDATE ON contracts
    FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();
CREATE TRIGGER update_org_contracts_updated_at BEFORE UPDATE ON org_contracts
    FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();
CREATE TRIGGER update_referrals_updated_at BEFORE UPDATE ON referrals
    FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();
CREATE TRIGGER update_referral_members_updated_at BEFORE UPDATE ON referral_members
    FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();
CREATE TRIGGER update_memberships_updated_at BEFORE UPDATE ON memberships
    FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();
CREATE TRIGGER update_patient_availabilities_updated_at BEFORE UPDATE ON patient_availabilities
    FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();
CREATE TRIGGER update_clinician_availabilities_updated_at BEFORE UPDATE ON clinician_availabilities
    FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();
CREATE TRIGGER update_clin_ins_aff_updated_at BEFORE UPDATE ON clinician_insurance_affiliations
    FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();
CREATE TRIGGER update_documents_updated_at BEFORE UPDATE ON documents
    FOR EACH ROW EXECUTE FUNCTION update_updated_at_column();
