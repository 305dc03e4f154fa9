-- Takes back 005_updated_at_triggers.

DROP TRIGGER IF EXISTS update_documents_updated_at ON documents;
DROP TRIGGER IF EXISTS update_clin_ins_aff_updated_at ON clinician_insurance_affiliations;
DROP TRIGGER IF EXISTS update_clinician_availabilities_updated_at ON clinician_availabilities;
DROP TRIGGER IF EXISTS update_patient_availabilities_updated_at ON patient_availabilities;
DROP TRIGGER IF EXISTS update_memberships_updated_at ON memberships;
DROP TRIGGER IF EXISTS update_referral_members_updated_at ON referral_members;
DROP TRIGGER IF EXISTS update_referrals_updated_at ON referrals;
DROP TRIGGER IF EXISTS update_org_contracts_updated_at ON org_contracts;
DROP TRIGGER IF EXISTS update_contracts_updated_at ON contracts;
DROP TRIGGER IF EXISTS update_organizations_updated_at ON organizations;
DROP TRIGGER IF EXISTS update_insurance_coverages_updated_at ON insurance_coverages;
DROP TRIGGER IF EXISTS update_clin_cred_insurances_updated_at ON clinician_credentialed_insurances;
DROP TRIGGER IF EXISTS update_questionnaires_updated_at ON questionnaires;
DROP TRIGGER IF EXISTS update_kinships_updated_at ON kinships;
DROP TRIGGER IF EXISTS update_clinicians_updated_at ON clinicians;
DROP TRIGGER IF EXISTS update_patients_guardians_updated_at ON patients_and_guardians;

DROP FUNCTION IF EXISTS update_updated_at_column();
