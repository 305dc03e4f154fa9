-- The 14 foreign keys that the database enforces (the plan's step 9 and "Direct Foreign Keys"), each once.
-- Corrected: the plan adds some before the table they name exists, and two of them twice (inline and in
-- step 9). Those of step 9 carry its names, those it only writes inline the names PostgreSQL gives them.

-- Step 9 of the plan.
ALTER TABLE clinicians ADD CONSTRAINT fk_clinicians_supervisor
    FOREIGN KEY (supervisor_id) REFERENCES clinicians (id);
ALTER TABLE patients_and_guardians ADD CONSTRAINT fk_patients_guardians_supervisor
    FOREIGN KEY (supervisor_id) REFERENCES clinicians (id);
ALTER TABLE clinician_credentialed_insurances ADD CONSTRAINT fk_parent_insurance
    FOREIGN KEY (parent_credentialed_insurance_id) REFERENCES clinician_credentialed_insurances (id);
ALTER TABLE organizations ADD CONSTRAINT fk_org_parent
    FOREIGN KEY (parent_organization_id) REFERENCES organizations (id);
ALTER TABLE referrals ADD CONSTRAINT fk_referrals_care_provider
    FOREIGN KEY (care_provider_id) REFERENCES clinicians (id);
ALTER TABLE clinician_insurance_affiliations ADD CONSTRAINT fk_clin_ins_aff_clinician
    FOREIGN KEY (care_provider_profile_id) REFERENCES clinicians (id);

-- Inline in the plan's CREATE TABLE statements.
ALTER TABLE org_contracts ADD CONSTRAINT org_contracts_organization_id_fkey
    FOREIGN KEY (organization_id) REFERENCES organizations (id);
ALTER TABLE org_contracts ADD CONSTRAINT org_contracts_contract_id_fkey
    FOREIGN KEY (contract_id) REFERENCES contracts (id);
ALTER TABLE referrals ADD CONSTRAINT referrals_organization_id_fkey
    FOREIGN KEY (organization_id) REFERENCES organizations (id);
ALTER TABLE referrals ADD CONSTRAINT referrals_contract_id_fkey
    FOREIGN KEY (contract_id) REFERENCES contracts (id);
ALTER TABLE referrals ADD CONSTRAINT referrals_intake_id_fkey
    FOREIGN KEY (intake_id) REFERENCES questionnaires (id);
ALTER TABLE referral_members ADD CONSTRAINT referral_members_referral_id_fkey
    FOREIGN KEY (referral_id) REFERENCES referrals (id) ON DELETE CASCADE;
ALTER TABLE memberships ADD CONSTRAINT memberships_organization_id_fkey
    FOREIGN KEY (organization_id) REFERENCES organizations (id);
ALTER TABLE clinician_insurance_affiliations
    ADD CONSTRAINT clinician_insurance_affiliations_credentialed_insurance_id_fkey
    FOREIGN KEY (credentialed_insurance_id) REFERENCES clinician_credentialed_insurances (id);
