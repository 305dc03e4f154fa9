-- Takes back 003_foreign_keys.

ALTER TABLE clinician_insurance_affiliations
    DROP CONSTRAINT IF EXISTS clinician_insurance_affiliations_credentialed_insurance_id_fkey;
ALTER TABLE memberships DROP CONSTRAINT IF EXISTS memberships_organization_id_fkey;
ALTER TABLE referral_members DROP CONSTRAINT IF EXISTS referral_members_referral_id_fkey;
ALTER TABLE referrals DROP CONSTRAINT IF EXISTS referrals_intake_id_fkey;
ALTER TABLE referrals DROP CONSTRAINT IF EXISTS referrals_contract_id_fkey;
ALTER TABLE referrals DROP CONSTRAINT IF EXISTS referrals_organization_id_fkey;
ALTER TABLE org_contracts DROP CONSTRAINT IF EXISTS org_contracts_contract_id_fkey;
ALTER TABLE org_contracts DROP CONSTRAINT IF EXISTS org_contracts_organization_id_fkey;
ALTER TABLE clinician_insurance_affiliations DROP CONSTRAINT IF EXISTS fk_clin_ins_aff_clinician;
ALTER TABLE referrals DROP CONSTRAINT IF EXISTS fk_referrals_care_provider;
ALTER TABLE organizations DROP CONSTRAINT IF EXISTS fk_org_parent;
ALTER TABLE clinician_credentialed_insurances DROP CONSTRAINT IF EXISTS fk_parent_insurance;
ALTER TABLE patients_and_guardians DROP CONSTRAINT IF EXISTS fk_patients_guardians_supervisor;
ALTER TABLE clinicians DROP CONSTRAINT IF EXISTS fk_clinicians_supervisor;
