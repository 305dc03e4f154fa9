-- The 25 queries that an application asks most. Each part: what it asks, the indexes that must serve it ("a | b" where
-- either does), a statement that draws its parameters from the data, the query, and where a view or function answers, the
-- same from the tables themselves. The reader is queries/__init__.py.

-- query: open referrals of an organization at a status, newest first
-- uses: idx_referrals_active
-- parameters
SELECT organization_id AS organization, status FROM app.active_referrals WHERE id > %(middle)s ORDER BY id LIMIT 20
-- statement
SELECT id, member_ids, referred_at FROM app.active_referrals
WHERE organization_id = %(organization)s AND status = %(status)s ORDER BY referred_at DESC, id DESC LIMIT 50
-- plain
SELECT r.id, ARRAY(SELECT user_id FROM referral_members WHERE referral_id = r.id AND _fivetran_deleted IS NOT TRUE ORDER BY user_id),
       r.referred_at
FROM referrals r
WHERE r.organization_id = %(organization)s AND r._fivetran_deleted IS NOT TRUE
  AND num_nonnulls(r.request_rejected_at, r.disenrolled_at, r.excluded_at) = 0 AND NOT coalesce('{request_rejected}' <@ r.system_labels, false)
  AND %(status)s = CASE WHEN r.enrolled_at IS NOT NULL OR '{enrolled}' <@ r.system_labels THEN 'enrolled'
                        WHEN r.scheduled_at IS NOT NULL OR '{scheduled}' <@ r.system_labels THEN 'scheduled'
                        WHEN r.ready_for_scheduling_at IS NOT NULL OR '{ready_for_scheduling}' <@ r.system_labels THEN 'ready_for_scheduling'
                        WHEN r.onboarding_completed_at IS NOT NULL OR '{onboarding_completed}' <@ r.system_labels THEN 'onboarding_completed'
                        ELSE 'referred' END
ORDER BY r.referred_at DESC, r.id DESC LIMIT 50

-- query: open referrals of an organization at a status, the next page
-- uses: idx_referrals_active
-- parameters
SELECT organization_id AS organization, status, referred_at AS before, id AS before_id
FROM app.active_referrals WHERE id > %(middle)s AND referred_at IS NOT NULL ORDER BY id LIMIT 20
-- statement
SELECT id, referred_at FROM app.active_referrals
WHERE organization_id = %(organization)s AND status = %(status)s AND (referred_at, id) < (%(before)s, %(before_id)s)
ORDER BY referred_at DESC, id DESC LIMIT 50

-- query: how many open referrals an organization has at each status
-- uses: idx_referrals_active | idx_referrals_organization
-- parameters
SELECT organization_id AS organization FROM referrals WHERE id > %(middle)s ORDER BY id LIMIT 20
-- statement
SELECT status, count(*) FROM app.active_referrals WHERE organization_id = %(organization)s GROUP BY status ORDER BY status

-- query: referrals of an organization with a label
-- uses: idx_referrals_org_status
-- parameters
SELECT organization_id AS organization, system_labels[cardinality(system_labels):] AS labels
FROM referrals WHERE id > %(middle)s ORDER BY id LIMIT 20
-- statement
SELECT id, submitter_id, system_labels, referred_at FROM referrals
WHERE organization_id = %(organization)s AND system_labels @> %(labels)s::text[] AND _fivetran_deleted = false
ORDER BY referred_at DESC, id LIMIT 50

-- query: how many referrals of an organization have each label
-- uses: idx_referrals_organization
-- parameters
SELECT organization_id AS organization FROM referrals WHERE id > %(middle)s ORDER BY id LIMIT 20
-- statement
SELECT label, count(*) FROM referrals r, unnest(r.system_labels) AS label
WHERE r.organization_id = %(organization)s AND r._fivetran_deleted IS NOT TRUE GROUP BY label ORDER BY label

-- query: referrals that somebody made
-- uses: idx_referrals_submitter
-- parameters
SELECT submitter_id AS person FROM referrals WHERE id > %(middle)s ORDER BY id LIMIT 20
-- statement
SELECT id, organization_id, service_kind, system_labels, referred_at FROM referrals
WHERE submitter_id = %(person)s AND _fivetran_deleted IS NOT TRUE ORDER BY referred_at DESC, id

-- query: referrals of a patient
-- uses: idx_referral_members_user, referrals_pkey
-- parameters
SELECT user_id AS patient FROM referral_members WHERE id > %(middle)s ORDER BY id LIMIT 20
-- statement
SELECT r.id, r.organization_id, m.data ->> 'grade' AS grade, r.system_labels, r.referred_at
FROM referral_members m JOIN referrals r ON r.id = m.referral_id
WHERE m.user_id = %(patient)s AND m._fivetran_deleted IS NOT TRUE AND r._fivetran_deleted IS NOT TRUE ORDER BY r.referred_at DESC, r.id

-- query: open referrals of a clinician
-- uses: idx_referrals_care_provider
-- parameters
SELECT care_provider_id AS clinician FROM referrals WHERE id > %(middle)s AND care_provider_id IS NOT NULL ORDER BY id LIMIT 20
-- statement
SELECT id, organization_name, status, member_ids FROM app.active_referrals
WHERE care_provider_id = %(clinician)s ORDER BY referred_at DESC, id
-- plain
SELECT r.id, o.name, CASE (r.enrolled_at IS NOT NULL)::int + (r.scheduled_at IS NOT NULL)::int + (r.ready_for_scheduling_at IS NOT NULL)::int
                          + (r.onboarding_completed_at IS NOT NULL)::int
                     WHEN 4 THEN 'enrolled' WHEN 3 THEN 'scheduled' WHEN 2 THEN 'ready_for_scheduling' WHEN 1 THEN 'onboarding_completed'
                     ELSE 'referred' END,
       ARRAY(SELECT user_id FROM referral_members WHERE referral_id = r.id ORDER BY user_id)
FROM referrals r JOIN organizations o ON o.id = r.organization_id
WHERE r.care_provider_id = %(clinician)s AND num_nonnulls(r.request_rejected_at, r.disenrolled_at, r.excluded_at) = 0
ORDER BY r.referred_at DESC, r.id

-- query: onboarding that was completed since, page by page
-- uses: idx_referrals_onboarding_completed
-- parameters
SELECT onboarding_completed_at AS after, id AS after_id FROM referrals
WHERE id > %(middle)s AND onboarding_completed_at IS NOT NULL ORDER BY id LIMIT 20
-- statement
SELECT id, organization_id, onboarding_completed_at FROM referrals
WHERE (onboarding_completed_at, id) > (%(after)s, %(after_id)s) AND _fivetran_deleted IS NOT TRUE
ORDER BY onboarding_completed_at, id LIMIT 50

-- query: onboarding funnel of an organization by week
-- uses: onboarding_funnel_by_organization
-- parameters
SELECT organization_id AS organization FROM referrals WHERE id > %(middle)s ORDER BY id LIMIT 20
-- statement
SELECT week, referred, scheduled, enrolled FROM app.onboarding_funnel
WHERE organization_id = %(organization)s AND period = 'week' ORDER BY week DESC LIMIT 12
-- plain
SELECT date_trunc('week', coalesce(referred_at, created_at) AT TIME ZONE 'UTC')::date AS week, count(*),
       count(*) FILTER (WHERE scheduled_at IS NOT NULL), count(*) FILTER (WHERE enrolled_at IS NOT NULL)
FROM referrals WHERE organization_id = %(organization)s GROUP BY 1 ORDER BY 1 DESC LIMIT 12

-- query: a person by e-mail
-- uses: idx_patients_guardians_email
-- parameters
SELECT email FROM patients_and_guardians WHERE id > %(middle)s AND email IS NOT NULL ORDER BY id LIMIT 20
-- statement
SELECT id, first_name, last_name, phone, system_labels FROM app.patients_and_guardians
WHERE email = %(email)s AND _fivetran_deleted IS NOT TRUE ORDER BY id

-- query: who logs in
-- uses: idx_patients_guardians_supabase_id
-- parameters
SELECT supabase_id AS login FROM patients_and_guardians WHERE id > %(middle)s AND supabase_id IS NOT NULL ORDER BY id LIMIT 20
-- statement
SELECT id, first_name, last_name, preferred_language FROM app.patients_and_guardians WHERE supabase_id = %(login)s

-- query: search by first and last name
-- uses: idx_patients_guardians_name_search, idx_clinicians_name_search
-- parameters
SELECT first_name || ' ' || last_name AS query FROM app.patients_and_guardians
WHERE id > %(middle)s AND first_name ~ '^\w{2,}$' AND last_name ~ '^\w{2,}$' ORDER BY id LIMIT 20
-- statement
SELECT id, user_type, first_name, last_name FROM search_people(%(query)s)
-- plain
SELECT id, user_type, first_name, last_name FROM users
WHERE privacy.name_words(concat_ws(' ', first_name, preferred_name, middle_name, last_name), true) @> privacy.name_words(%(query)s, false)
ORDER BY id LIMIT 50

-- query: search by the beginnings of two names
-- uses: idx_patients_guardians_name_search, idx_clinicians_name_search
-- parameters
SELECT left(first_name, 3) || '* ' || left(last_name, 4) || '*' AS query FROM app.patients_and_guardians
WHERE id > %(middle)s AND first_name ~ '^\w{3,}$' AND last_name ~ '^\w{4,}$' ORDER BY id LIMIT 20
-- statement
SELECT id, user_type, first_name, last_name FROM search_people(%(query)s)

-- query: search by a part of an e-mail
-- uses: idx_patients_guardians_email_search
-- slow: it looks for people with these words in their names first, and for each three letters of the fragment in all addresses then; 20 to 30 ms with other work beside
-- parameters
SELECT split_part(email, '@', 1) || '@' AS query FROM patients_and_guardians
WHERE id > %(middle)s AND email ~ '^[a-z0-9.]{6,}@' ORDER BY id LIMIT 20
-- statement
SELECT id, user_type, email FROM search_people(%(query)s)

-- query: guardians and children of a person
-- uses: idx_kinships_user_0 | kinships_user_0_id_user_1_id_key, idx_kinships_user_1
-- parameters
SELECT user_1_id AS person FROM kinships WHERE id > %(middle)s ORDER BY id LIMIT 20
-- statement
SELECT relative_id, is_guardian, is_child, first_name, last_name FROM app.relatives WHERE person_id = %(person)s ORDER BY relative_id
-- plain
SELECT p.id, k.label IN (1, 12) AND k.own IN (2, 12), k.label IN (2, 12) AND k.own IN (1, 12), p.first_name, p.last_name
FROM (SELECT user_0_id AS id, user_0_label AS label, user_1_label AS own FROM kinships WHERE user_1_id = %(person)s
      UNION ALL SELECT user_1_id, user_1_label, user_0_label FROM kinships WHERE user_0_id = %(person)s) k
JOIN app.patients_and_guardians p ON p.id = k.id ORDER BY p.id

-- query: a family
-- uses: idx_kinships_user_0 | kinships_user_0_id_user_1_id_key, idx_kinships_user_1
-- parameters
SELECT user_1_id AS person FROM kinships WHERE id > %(middle)s ORDER BY id LIMIT 20
-- statement
SELECT member_id FROM app.family(%(person)s) ORDER BY member_id
-- plain
WITH RECURSIVE family AS (
    SELECT %(person)s::uuid AS id
    UNION
    SELECT CASE WHEN k.user_0_id = f.id THEN k.user_1_id ELSE k.user_0_id END
    FROM family f JOIN kinships k ON f.id IN (k.user_0_id, k.user_1_id)
)
SELECT id FROM family ORDER BY id

-- query: patients of an organization, page by page
-- uses: idx_memberships_org | memberships_user_id_organization_id_key, patients_and_guardians_pkey
-- parameters
SELECT organization_id AS organization, %(middle)s::uuid AS after FROM memberships WHERE id > %(middle)s ORDER BY id LIMIT 20
-- statement
SELECT p.id, p.first_name, p.last_name
FROM (SELECT user_id FROM memberships
      WHERE organization_id = %(organization)s AND user_id > %(after)s AND _fivetran_deleted IS NOT TRUE ORDER BY user_id LIMIT 50) m
JOIN app.patients_and_guardians p ON p.id = m.user_id AND p._fivetran_deleted IS NOT TRUE ORDER BY p.id

-- query: coverage of a patient
-- uses: idx_insurance_coverages_user
-- parameters
SELECT user_id AS patient FROM insurance_coverages WHERE id > %(middle)s ORDER BY id LIMIT 20
-- statement
SELECT id, insurance_company_name, eligibility_name, days_until_expiry, is_expired FROM app.coverage_status
WHERE user_id = %(patient)s ORDER BY level, id
-- plain
SELECT id, insurance_company_name, CASE eligibility WHEN 0 THEN 'unknown' WHEN 2 THEN 'submitted' WHEN 4 THEN 'eligible' WHEN 6 THEN 'expired' END,
       (profile_data ->> 'expires_on')::date - current_date,
       coalesce(eligibility = 6, false) OR coalesce('{expired}' <@ system_labels, false)
       OR coalesce((profile_data ->> 'expires_on')::date < current_date, false)
FROM insurance_coverages WHERE user_id = %(patient)s ORDER BY level, id

-- query: coverages that expire within a month
-- uses: idx_insurance_coverages_expiry
-- parameters
SELECT current_date + 30 * n AS first_day FROM generate_series(0, 9) n
-- statement
SELECT id, user_id, expires_on FROM app.coverage_status
WHERE expires_on BETWEEN %(first_day)s AND %(first_day)s::date + 30 ORDER BY expires_on, id LIMIT 50
-- plain
SELECT id, user_id, (profile_data ->> 'expires_on')::date FROM insurance_coverages
WHERE (profile_data ->> 'expires_on')::date BETWEEN %(first_day)s AND %(first_day)s::date + 30 ORDER BY 3, id LIMIT 50

-- query: a patient's timeline
-- uses: idx_questionnaires_subject, idx_referral_members_user, idx_insurance_coverages_user
-- parameters
SELECT subject_id AS patient FROM questionnaires WHERE id > %(middle)s ORDER BY id LIMIT 20
-- statement
SELECT at, what, id FROM (
    SELECT q.started_at AS at, 'questionnaire' AS what, q.id FROM questionnaires q
    WHERE q.subject_id = %(patient)s AND q._fivetran_deleted IS NOT TRUE
    UNION ALL
    SELECT q.completed_at, 'questionnaire completed', q.id FROM questionnaires q
    WHERE q.subject_id = %(patient)s AND q._fivetran_deleted IS NOT TRUE
    UNION ALL
    SELECT step.at, step.what, r.id
    FROM referral_members m JOIN referrals r ON r.id = m.referral_id AND r._fivetran_deleted IS NOT TRUE,
         LATERAL (VALUES (r.referred_at, 'referred'), (r.onboarding_completed_at, 'onboarding completed'),
                         (r.ready_for_scheduling_at, 'ready for scheduling'), (r.scheduled_at, 'scheduled'), (r.enrolled_at, 'enrolled'),
                         (r.disenrolled_at, 'disenrolled'), (r.request_rejected_at, 'rejected')) AS step (at, what)
    WHERE m.user_id = %(patient)s AND m._fivetran_deleted IS NOT TRUE
    UNION ALL
    SELECT c.created_at, 'coverage', c.id FROM insurance_coverages c WHERE c.user_id = %(patient)s AND c._fivetran_deleted IS NOT TRUE
) event WHERE at IS NOT NULL ORDER BY at DESC, what, id LIMIT 50

-- query: questionnaires that somebody has not completed
-- uses: idx_questionnaires_respondent
-- parameters
SELECT respondent_id AS person FROM questionnaires WHERE id > %(middle)s ORDER BY id LIMIT 20
-- statement
SELECT id, subject_id, type, started_at FROM questionnaires
WHERE respondent_id = %(person)s AND completed_at IS NULL AND _fivetran_deleted IS NOT TRUE ORDER BY started_at DESC, id

-- query: the contract that applies to an organization
-- uses: org_contracts_organization_id_contract_id_key | idx_org_contracts_org, organizations_pkey
-- parameters
SELECT organization_id AS organization FROM referrals WHERE id > %(middle)s ORDER BY id LIMIT 20
-- statement
SELECT contract_id, is_own, services FROM app.effective_contract(%(organization)s)
-- plain
SELECT k.id, l.organization_id = o.id, k.services
FROM organizations o JOIN org_contracts l ON l.organization_id IN (o.id, o.parent_organization_id) JOIN contracts k ON k.id = l.contract_id
WHERE o.id = %(organization)s AND current_date BETWEEN k.effective_date AND coalesce(k.end_date, 'infinity')
ORDER BY l.organization_id = o.id DESC, k.effective_date DESC, k.id LIMIT 1

-- query: an insurance company with a typing error
-- uses: idx_clin_cred_insurances_spellings
-- parameters
SELECT left(name, 3) || substr(name, 5) AS query FROM clinician_credentialed_insurances WHERE id > %(middle)s ORDER BY id LIMIT 20
-- statement
SELECT id, name, score FROM app.find_insurances(%(query)s)

-- query: free slots of an organization's clinicians in two weeks
-- uses: idx_clinician_avail_user, idx_memberships_org
-- parameters
SELECT organization_id AS organization, (SELECT date_trunc('day', percentile_disc(0.5) WITHIN GROUP (ORDER BY range_start))
                                         FROM clinician_availabilities) AS since
FROM memberships WHERE id > %(middle)s ORDER BY id LIMIT 20
-- statement
SELECT clinician_id, starts_at, ends_at FROM app.free_slots(%(organization)s, %(since)s, %(since)s::timestamptz + interval '14 days')
ORDER BY starts_at, clinician_id LIMIT 100
