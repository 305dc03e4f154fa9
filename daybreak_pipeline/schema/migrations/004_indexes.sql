-- The plan's indexes: those of its schema sections, the composite index of 3.2 and the email search of 3.3.
-- Corrected: idx_referrals_org_status is a B-tree on an array in the plan and cannot serve "has this label";
-- three foreign keys have no index there, although 3.1 wants all of them indexed; 3.3 speaks of emails but
-- indexes only names (whose search comes with their encryption, in a later migration).

CREATE INDEX idx_patients_guardians_email ON patients_and_guardians (email);
CREATE INDEX idx_patients_guardians_role ON patients_and_guardians (role);
CREATE INDEX idx_patients_guardians_system_labels ON patients_and_guardians USING gin (system_labels);
CREATE INDEX idx_patients_guardians_supabase_id ON patients_and_guardians (supabase_id);
CREATE INDEX idx_patients_guardians_supervisor ON patients_and_guardians (supervisor_id);

CREATE INDEX idx_clinicians_email ON clinicians (email);
CREATE INDEX idx_clinicians_healthie_id ON clinicians (healthie_id);
CREATE INDEX idx_clinicians_system_labels ON clinicians USING gin (system_labels);
CREATE INDEX idx_clinicians_supervisor ON clinicians (supervisor_id);

CREATE INDEX idx_kinships_user_0 ON kinships (user_0_id);
CREATE INDEX idx_kinships_user_1 ON kinships (user_1_id);

CREATE INDEX idx_questionnaires_subject ON questionnaires (subject_id);
CREATE INDEX idx_questionnaires_respondent ON questionnaires (respondent_id);
CREATE INDEX idx_questionnaires_type ON questionnaires (type);
CREATE INDEX idx_questionnaires_completed_at ON questionnaires (completed_at);

CREATE INDEX idx_clin_cred_insurances_name ON clinician_credentialed_insurances (name);
CREATE INDEX idx_clin_cred_insurances_state ON clinician_credentialed_insurances (state);

CREATE INDEX idx_insurance_coverages_user ON insurance_coverages (user_id);
CREATE INDEX idx_insurance_coverages_eligibility ON insurance_coverages (eligibility);
CREATE INDEX idx_insurance_coverages_labels ON insurance_coverages USING gin (system_labels);
CREATE INDEX idx_insurance_coverages_created_by ON insurance_coverages (created_by);
CREATE INDEX idx_insurance_coverages_company_name ON insurance_coverages (insurance_company_name);

CREATE INDEX idx_orgs_parent ON organizations (parent_organization_id);
CREATE INDEX idx_orgs_kind ON organizations (kind);
CREATE INDEX idx_orgs_slug ON organizations (slug);

CREATE INDEX idx_contracts_dates ON contracts (effective_date, end_date);

CREATE INDEX idx_org_contracts_org ON org_contracts (organization_id);
CREATE INDEX idx_org_contracts_contract ON org_contracts (contract_id);

CREATE INDEX idx_referrals_submitter ON referrals (submitter_id);
CREATE INDEX idx_referrals_organization ON referrals (organization_id);
CREATE INDEX idx_referrals_contract ON referrals (contract_id);
CREATE INDEX idx_referrals_status ON referrals USING gin (system_labels);
CREATE INDEX idx_referrals_onboarding_completed ON referrals (onboarding_completed_at);

CREATE INDEX idx_referral_members_referral ON referral_members (referral_id);
CREATE INDEX idx_referral_members_user ON referral_members (user_id);

CREATE INDEX idx_memberships_user ON memberships (user_id);
CREATE INDEX idx_memberships_org ON memberships (organization_id);

CREATE INDEX idx_patient_avail_user ON patient_availabilities (user_id);
CREATE INDEX idx_patient_avail_availability ON patient_availabilities USING gin (availability);

CREATE INDEX idx_clinician_avail_user ON clinician_availabilities (user_id);
CREATE INDEX idx_clinician_avail_range ON clinician_availabilities (range_start, range_end);

CREATE INDEX idx_clin_ins_aff_clinician ON clinician_insurance_affiliations (care_provider_profile_id);
CREATE INDEX idx_clin_ins_aff_insurance ON clinician_insurance_affiliations (credentialed_insurance_id);

CREATE INDEX idx_documents_label ON documents (label);
CREATE INDEX idx_documents_version ON documents (version);

-- Active referrals of an organization by label (3.2). btree_gin lets the UUID stand beside the array.
CREATE INDEX idx_referrals_org_status ON referrals USING gin (organization_id, system_labels)
    WHERE _fivetran_deleted = false;

-- Foreign keys that the plan does not index. Without these, deleting a parent row (or changing its id) reads
-- the whole child table to see that nothing points at it.
CREATE INDEX idx_clin_cred_insurances_parent
    ON clinician_credentialed_insurances (parent_credentialed_insurance_id);
CREATE INDEX idx_referrals_intake ON referrals (intake_id);
CREATE INDEX idx_referrals_care_provider ON referrals (care_provider_id);

-- Search for a part of an email (3.3). Trigrams serve LIKE '%part%' and misspelt addresses, which the B-tree
-- on email and full-text search (an address is one word to it) do not.
CREATE INDEX idx_patients_guardians_email_search ON patients_and_guardians USING gin (email gin_trgm_ops);
CREATE INDEX idx_clinicians_email_search ON clinicians USING gin (email gin_trgm_ops);
