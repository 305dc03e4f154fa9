-- Takes back 002_tables: drops the 16 tables in reverse order, with everything in them.
-- Without CASCADE, so that a view somebody built on them stops the rollback instead of vanishing.

DROP TABLE IF EXISTS documents;
DROP TABLE IF EXISTS clinician_insurance_affiliations;
DROP TABLE IF EXISTS clinician_availabilities;
DROP TABLE IF EXISTS patient_availabilities;
DROP TABLE IF EXISTS memberships;
DROP TABLE IF EXISTS referral_members;
DROP TABLE IF EXISTS referrals;
DROP TABLE IF EXISTS org_contracts;
DROP TABLE IF EXISTS contracts;
DROP TABLE IF EXISTS organizations;
DROP TABLE IF EXISTS insurance_coverages;
DROP TABLE IF EXISTS clinician_credentialed_insurances;
DROP TABLE IF EXISTS questionnaires;
DROP TABLE IF EXISTS kinships;
DROP TABLE IF EXISTS clinicians;
DROP TABLE IF EXISTS patients_and_guardians;
