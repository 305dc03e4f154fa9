-- Queries beyond the likeliest, so that every index of the plan that serves any has its own. The form is that of likeliest.sql.

-- query: referrals with a rare label
-- uses: idx_referrals_status
-- parameters
SELECT '{urgent}'::text[] AS labels
-- statement
SELECT id, organization_id, system_labels FROM referrals
WHERE system_labels @> %(labels)s AND _fivetran_deleted IS NOT TRUE ORDER BY referred_at DESC, id LIMIT 50

-- query: how many referrals run under a contract, by organization
-- uses: idx_referrals_contract
-- parameters
SELECT contract_id AS contract FROM referrals WHERE id > %(middle)s ORDER BY id LIMIT 20
-- statement
SELECT organization_id, count(*) FROM referrals
WHERE contract_id = %(contract)s AND _fivetran_deleted IS NOT TRUE GROUP BY organization_id ORDER BY organization_id

-- query: the referral that an intake questionnaire belongs to
-- uses: idx_referrals_intake
-- parameters
SELECT intake_id AS questionnaire FROM referrals WHERE id > %(middle)s AND intake_id IS NOT NULL ORDER BY id LIMIT 20
-- statement
SELECT id, system_labels FROM referrals WHERE intake_id = %(questionnaire)s ORDER BY id

-- query: the patients of a referral
-- uses: referral_members_referral_id_user_id_key | idx_referral_members_referral, patients_and_guardians_pkey
-- parameters
SELECT referral_id AS referral FROM referral_members WHERE id > %(middle)s ORDER BY id LIMIT 20
-- statement
SELECT p.id, p.first_name, p.last_name, m.data ->> 'grade' AS grade
FROM referral_members m JOIN app.patients_and_guardians p ON p.id = m.user_id
WHERE m.referral_id = %(referral)s AND m._fivetran_deleted IS NOT TRUE ORDER BY p.id

-- query: people with a rare label, page by page
-- uses: idx_patients_guardians_system_labels
-- parameters
SELECT %(middle)s::uuid AS after, '{waiting_list}'::text[] AS labels
-- statement
SELECT id, first_name, last_name FROM app.patients_and_guardians
WHERE system_labels @> %(labels)s AND id > %(after)s AND _fivetran_deleted IS NOT TRUE ORDER BY id LIMIT 50

-- query: patients of a supervisor
-- uses: idx_patients_guardians_supervisor
-- parameters
SELECT supervisor_id AS clinician FROM patients_and_guardians WHERE id > %(middle)s AND supervisor_id IS NOT NULL ORDER BY id LIMIT 20
-- statement
SELECT id, first_name, last_name FROM app.patients_and_guardians WHERE supervisor_id = %(clinician)s AND _fivetran_deleted IS NOT TRUE ORDER BY id

-- query: organizations of a person
-- uses: memberships_user_id_organization_id_key | idx_memberships_user
-- parameters
SELECT user_id AS person FROM memberships WHERE id > %(middle)s ORDER BY id LIMIT 20
-- statement
SELECT o.id, o.name, o.tzdb FROM memberships m JOIN organizations o ON o.id = m.organization_id
WHERE m.user_id = %(person)s AND m._fivetran_deleted IS NOT TRUE ORDER BY o.id

-- query: anybody by e-mail, in the plan's view of all users
-- uses: idx_patients_guardians_email, idx_clinicians_email
-- parameters
SELECT email FROM patients_and_guardians WHERE id > %(middle)s AND email IS NOT NULL ORDER BY id LIMIT 20
-- statement
SELECT id, user_type, first_name, last_name FROM users WHERE email = %(email)s AND _fivetran_deleted IS NOT TRUE ORDER BY id

-- query: who answered a patient's questionnaires, guardian or clinician
-- uses: idx_questionnaires_subject, patients_and_guardians_pkey, clinicians_pkey
-- parameters
SELECT subject_id AS patient FROM questionnaires WHERE id > %(middle)s ORDER BY id LIMIT 20
-- statement
SELECT q.id, q.type, q.completed_at, u.user_type, u.first_name, u.last_name
FROM questionnaires q JOIN users u ON u.id = q.respondent_id
WHERE q.subject_id = %(patient)s AND q._fivetran_deleted IS NOT TRUE ORDER BY q.started_at DESC, q.id

-- query: a clinician by e-mail
-- uses: idx_clinicians_email
-- parameters
SELECT email FROM clinicians WHERE id > %(middle)s AND email IS NOT NULL ORDER BY id LIMIT 20
-- statement
SELECT id, first_name, last_name FROM app.clinicians WHERE email = %(email)s AND _fivetran_deleted IS NOT TRUE ORDER BY id

-- query: a clinician by a part of the e-mail
-- uses: idx_clinicians_email_search
-- parameters
SELECT '%%' || split_part(email, '@', 1) || '%%' AS pattern FROM clinicians WHERE id > %(middle)s AND email ~ '^[a-z0-9.]{6,}@' ORDER BY id LIMIT 20
-- statement
SELECT id, first_name, last_name, email FROM app.clinicians WHERE email ILIKE %(pattern)s AND _fivetran_deleted IS NOT TRUE ORDER BY id LIMIT 50

-- query: a clinician by the scheduling system's number
-- uses: idx_clinicians_healthie_id
-- parameters
SELECT healthie_id AS number FROM clinicians WHERE id > %(middle)s ORDER BY id LIMIT 20
-- statement
SELECT id, first_name, last_name FROM app.clinicians WHERE healthie_id = %(number)s ORDER BY id

-- query: associates of a supervisor
-- uses: idx_clinicians_supervisor
-- parameters
SELECT supervisor_id AS clinician FROM clinicians WHERE id > %(middle)s AND supervisor_id IS NOT NULL ORDER BY id LIMIT 20
-- statement
SELECT id, first_name, last_name FROM app.clinicians WHERE supervisor_id = %(clinician)s AND _fivetran_deleted IS NOT TRUE ORDER BY id

-- query: clinicians with a rare label
-- uses: idx_clinicians_system_labels
-- parameters
SELECT '{on_leave}'::text[] AS labels
-- statement
SELECT id, first_name, last_name FROM app.clinicians WHERE system_labels @> %(labels)s AND _fivetran_deleted IS NOT TRUE ORDER BY id LIMIT 50

-- query: a clinician with states, languages and insurances
-- uses: clinicians_pkey, clinician_insurance_affiliati_care_provider_profile_id_cred_key | idx_clin_ins_aff_clinician
-- parameters
SELECT id AS clinician FROM clinicians WHERE id > %(middle)s ORDER BY id LIMIT 20
-- statement
SELECT first_name, last_name, states_active, care_languages, insurance_ids FROM app.clinician_directory WHERE id = %(clinician)s
-- plain
SELECT first_name, last_name, states_active, care_languages,
       (SELECT array_agg(credentialed_insurance_id ORDER BY credentialed_insurance_id) FROM clinician_insurance_affiliations
        WHERE care_provider_profile_id = %(clinician)s)
FROM app.clinicians WHERE id = %(clinician)s

-- query: how many clinicians take an insurance
-- uses: idx_clin_ins_aff_insurance
-- parameters
SELECT credentialed_insurance_id AS insurance FROM clinician_insurance_affiliations WHERE id > %(middle)s ORDER BY id LIMIT 20
-- statement
SELECT count(*) FROM clinician_insurance_affiliations WHERE credentialed_insurance_id = %(insurance)s AND _fivetran_deleted IS NOT TRUE

-- query: availabilities that begin on a day
-- uses: idx_clinician_avail_range
-- parameters
SELECT date_trunc('day', range_start) AS day FROM clinician_availabilities ORDER BY id LIMIT 20
-- statement
SELECT id, user_id, range_start, range_end FROM clinician_availabilities
WHERE range_start >= %(day)s AND range_start < %(day)s::timestamptz + interval '1 day' AND deleted_at IS NULL
ORDER BY range_start, range_end, id LIMIT 50

-- query: when a patient has time
-- uses: idx_patient_avail_user
-- parameters
SELECT user_id AS patient FROM patient_availabilities WHERE id > %(middle)s ORDER BY id LIMIT 20
-- statement
SELECT id, availability FROM patient_availabilities
WHERE user_id = %(patient)s AND _fivetran_deleted IS NOT TRUE ORDER BY updated_at DESC, id LIMIT 1

-- query: patients with time at an hour that hardly anybody has
-- uses: idx_patient_avail_availability
-- parameters
SELECT '[{"day": "Sunday", "time_blocks": [{"start": "06:15:00"}]}]' AS wanted
-- statement
WITH found AS MATERIALIZED (
    SELECT id, user_id FROM patient_availabilities WHERE availability @> %(wanted)s::jsonb AND _fivetran_deleted IS NOT TRUE
)
SELECT id, user_id FROM found ORDER BY id LIMIT 50

-- query: coverages with a rare label
-- uses: idx_insurance_coverages_labels
-- parameters
SELECT '{needs_review}'::text[] AS labels
-- statement
SELECT id, user_id, eligibility FROM insurance_coverages
WHERE system_labels @> %(labels)s AND _fivetran_deleted IS NOT TRUE ORDER BY updated_at DESC, id LIMIT 50

-- query: coverages that somebody entered
-- uses: idx_insurance_coverages_created_by
-- parameters
SELECT created_by AS person FROM insurance_coverages WHERE id > %(middle)s AND created_by IS NOT NULL ORDER BY id LIMIT 20
-- statement
SELECT id, user_id, insurance_company_name FROM insurance_coverages
WHERE created_by = %(person)s AND _fivetran_deleted IS NOT TRUE ORDER BY created_at DESC, id

-- query: coverages of a company that hardly anybody has
-- uses: idx_insurance_coverages_company_name
-- parameters
SELECT 'Farmhand Mutual' AS company
-- statement
SELECT id, user_id, eligibility FROM insurance_coverages
WHERE insurance_company_name = %(company)s AND _fivetran_deleted IS NOT TRUE ORDER BY created_at DESC, id LIMIT 50

-- query: how many coverages a large company has, by eligibility
-- uses: idx_insurance_coverages_company_name
-- slow: it counts a thirtieth of all coverages, one by one; reporting.coverage_by_insurer has the number
-- parameters
SELECT insurance_company_name AS company FROM insurance_coverages
WHERE id > %(middle)s AND insurance_company_name IS NOT NULL ORDER BY id LIMIT 5
-- statement
SELECT eligibility, count(*) FROM insurance_coverages
WHERE insurance_company_name = %(company)s AND _fivetran_deleted IS NOT TRUE GROUP BY eligibility ORDER BY eligibility

-- query: questionnaires completed since, page by page
-- uses: idx_questionnaires_completed_at
-- parameters
SELECT completed_at AS after, id AS after_id FROM questionnaires WHERE id > %(middle)s AND completed_at IS NOT NULL ORDER BY id LIMIT 20
-- statement
SELECT id, subject_id, score, completed_at FROM questionnaires
WHERE (completed_at, id) > (%(after)s, %(after_id)s) AND _fivetran_deleted IS NOT TRUE ORDER BY completed_at, id LIMIT 50

-- query: an insurance company by its name
-- uses: idx_clin_cred_insurances_name
-- parameters
SELECT name FROM clinician_credentialed_insurances WHERE id > %(middle)s ORDER BY id LIMIT 20
-- statement
SELECT id, state, network_status FROM clinician_credentialed_insurances WHERE name = %(name)s AND _fivetran_deleted IS NOT TRUE ORDER BY id

-- query: insurance companies of a state
-- uses: idx_clin_cred_insurances_state
-- parameters
SELECT state FROM clinician_credentialed_insurances WHERE id > %(middle)s AND state IS NOT NULL ORDER BY id LIMIT 20
-- statement
SELECT id, name FROM clinician_credentialed_insurances
WHERE state = %(state)s AND _fivetran_deleted IS NOT TRUE ORDER BY name, id LIMIT 50

-- query: lines of business of an insurance company
-- uses: idx_clin_cred_insurances_parent
-- parameters
SELECT id AS company FROM clinician_credentialed_insurances WHERE id > %(middle)s ORDER BY id LIMIT 20
-- statement
SELECT id, name, line_of_business FROM clinician_credentialed_insurances
WHERE parent_credentialed_insurance_id = %(company)s AND _fivetran_deleted IS NOT TRUE ORDER BY name, id

-- query: schools of a district
-- uses: idx_orgs_parent
-- parameters
SELECT parent_organization_id AS district FROM organizations WHERE id > %(middle)s AND parent_organization_id IS NOT NULL ORDER BY id LIMIT 20
-- statement
SELECT id, name FROM organizations WHERE parent_organization_id = %(district)s AND _fivetran_deleted IS NOT TRUE ORDER BY name, id

-- query: an organization by its slug
-- uses: idx_orgs_slug
-- parameters
SELECT slug FROM organizations WHERE id > %(middle)s AND slug IS NOT NULL ORDER BY id LIMIT 20
-- statement
SELECT id, name, kind, config FROM organizations WHERE slug = %(slug)s

-- query: organizations under a contract
-- uses: idx_org_contracts_contract
-- parameters
SELECT contract_id AS contract FROM org_contracts WHERE id > %(middle)s ORDER BY id LIMIT 20
-- statement
SELECT o.id, o.name FROM org_contracts l JOIN organizations o ON o.id = l.organization_id
WHERE l.contract_id = %(contract)s AND o._fivetran_deleted IS NOT TRUE ORDER BY o.id

-- query: contracts that begin in a week
-- uses: idx_contracts_dates
-- parameters
SELECT date_trunc('week', effective_date)::date AS week FROM contracts ORDER BY id LIMIT 20
-- statement
SELECT id, effective_date, end_date FROM contracts
WHERE effective_date >= %(week)s AND effective_date < %(week)s::date + 7 AND _fivetran_deleted IS NOT TRUE
ORDER BY effective_date, id
