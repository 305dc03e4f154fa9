-- Which indexes of the plan no common query uses, and one that was there twice. The queries are those that
-- docs/benchmarks.md measures.

-- The plan orders slug to be unique and an index on it: the unique one is that index.
DROP INDEX idx_orgs_slug;
ALTER TABLE organizations RENAME CONSTRAINT organizations_slug_key TO idx_orgs_slug;

COMMENT ON INDEX idx_patients_guardians_role IS
    'Kept for the plan''s sake: every row has the same role, so reading the table is as fast.';
COMMENT ON INDEX idx_questionnaires_type IS
    'Kept for the plan''s sake: there are two types, and a list of one of them is read in another index''s order.';
COMMENT ON INDEX idx_insurance_coverages_eligibility IS
    'Kept for the plan''s sake: there are four codes, and a list of one of them is read in another index''s order.';
COMMENT ON INDEX idx_orgs_kind IS
    'Kept for the plan''s sake: there are two kinds, and most rows are of one.';
COMMENT ON INDEX idx_documents_label IS 'Kept for the plan''s sake: there are some dozens of documents, in a few pages of the disk.';
COMMENT ON INDEX idx_documents_version IS 'Kept for the plan''s sake: there are some dozens of documents, in a few pages of the disk.';
