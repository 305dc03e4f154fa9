-- Takes back the marks of indexes and the one name.

COMMENT ON INDEX idx_patients_guardians_role IS NULL;
COMMENT ON INDEX idx_questionnaires_type IS NULL;
COMMENT ON INDEX idx_insurance_coverages_eligibility IS NULL;
COMMENT ON INDEX idx_orgs_kind IS NULL;
COMMENT ON INDEX idx_documents_label IS NULL;
COMMENT ON INDEX idx_documents_version IS NULL;

ALTER TABLE organizations RENAME CONSTRAINT idx_orgs_slug TO organizations_slug_key;
CREATE INDEX idx_orgs_slug ON organizations (slug);
