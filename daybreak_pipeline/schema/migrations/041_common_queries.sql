-- Views for common queries (the plan, 4.3), for applications in schema app; each with the index that serves it.
-- Rows deleted at the source are in none of them. docs/common-queries.md shows how to ask.

-- Referrals ----------------------------------------------------------------------------------------------

CREATE FUNCTION app.referral_status(
    system_labels TEXT[], onboarding_completed_at TIMESTAMPTZ, ready_for_scheduling_at TIMESTAMPTZ,
    scheduled_at TIMESTAMPTZ, enrolled_at TIMESTAMPTZ
) RETURNS TEXT LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN enrolled_at IS NOT NULL OR 'enrolled' = ANY (system_labels) THEN 'enrolled'
            WHEN scheduled_at IS NOT NULL OR 'scheduled' = ANY (system_labels) THEN 'scheduled'
            WHEN ready_for_scheduling_at IS NOT NULL OR 'ready_for_scheduling' = ANY (system_labels) THEN 'ready_for_scheduling'
            WHEN onboarding_completed_at IS NOT NULL OR 'onboarding_completed' = ANY (system_labels) THEN 'onboarding_completed'
            ELSE 'referred' END;
COMMENT ON FUNCTION app.referral_status(TEXT[], TIMESTAMPTZ, TIMESTAMPTZ, TIMESTAMPTZ, TIMESTAMPTZ) IS
    'The furthest step that a label or a time of the referral says: referred, onboarding_completed, ready_for_scheduling, scheduled or enrolled.';

CREATE FUNCTION app.is_open(
    system_labels TEXT[], request_rejected_at TIMESTAMPTZ, disenrolled_at TIMESTAMPTZ, excluded_at TIMESTAMPTZ
) RETURNS BOOLEAN LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN request_rejected_at IS NULL AND disenrolled_at IS NULL AND excluded_at IS NULL
       AND ('request_rejected' = ANY (system_labels)) IS NOT TRUE;
COMMENT ON FUNCTION app.is_open(TEXT[], TIMESTAMPTZ, TIMESTAMPTZ, TIMESTAMPTZ) IS
    'Whether a referral is neither rejected nor disenrolled nor excluded.';

CREATE INDEX idx_referrals_active ON referrals (
    organization_id,
    app.referral_status(system_labels, onboarding_completed_at, ready_for_scheduling_at, scheduled_at, enrolled_at),
    referred_at
) WHERE _fivetran_deleted IS NOT TRUE AND app.is_open(system_labels, request_rejected_at, disenrolled_at, excluded_at);
COMMENT ON INDEX idx_referrals_active IS 'Serves app.active_referrals by organization and status, newest first.';

CREATE VIEW app.active_referrals AS
SELECT r.id, r.organization_id, o.name AS organization_name,
       CASE WHEN o.kind = 1 THEN o.id ELSE o.parent_organization_id END AS district_id,
       app.referral_status(r.system_labels, r.onboarding_completed_at, r.ready_for_scheduling_at, r.scheduled_at, r.enrolled_at)
           AS status,
       r.submitter_id,
       ARRAY(SELECT m.user_id FROM public.referral_members m
             WHERE m.referral_id = r.id AND m._fivetran_deleted IS NOT TRUE ORDER BY m.user_id) AS member_ids,
       r.service_kind, r.contract_id, r.care_provider_id, r.system_labels, r.referred_at, r.onboarding_completed_at,
       r.ready_for_scheduling_at, r.scheduled_at, r.enrolled_at, r.tzdb, r.created_at, r.updated_at
FROM public.referrals r
LEFT JOIN public.organizations o ON o.id = r.organization_id AND o._fivetran_deleted IS NOT TRUE
WHERE r._fivetran_deleted IS NOT TRUE
  AND app.is_open(r.system_labels, r.request_rejected_at, r.disenrolled_at, r.excluded_at);
COMMENT ON VIEW app.active_referrals IS
    'Referrals that are neither rejected, disenrolled nor excluded, with the furthest step as status. Index idx_referrals_active: organization_id, status, referred_at.';

-- Families -----------------------------------------------------------------------------------------------

CREATE VIEW app.relatives AS
SELECT k.person_id, k.relative_id,
       k.relative_label IN (1, 12) AND k.person_label IN (2, 12) AS is_guardian,
       k.relative_label IN (2, 12) AND k.person_label IN (1, 12) AS is_child,
       k.person_label, k.relative_label, k.kind, k.guardian_can_be_contacted,
       CASE WHEN p.id IS NOT NULL THEN 1 WHEN c.id IS NOT NULL THEN 2 END AS relative_user_type,
       coalesce(p.email, c.email) AS email,
       coalesce(privacy.unseal(p.first_name_encrypted, (SELECT privacy.key('seal')), privacy.tag('public.patients_and_guardians', 'first_name_encrypted')),
                privacy.unseal(c.first_name_encrypted, (SELECT privacy.key('seal')), privacy.tag('public.clinicians', 'first_name_encrypted')))::varchar(255) AS first_name,
       coalesce(privacy.unseal(p.last_name_encrypted, (SELECT privacy.key('seal')), privacy.tag('public.patients_and_guardians', 'last_name_encrypted')),
                privacy.unseal(c.last_name_encrypted, (SELECT privacy.key('seal')), privacy.tag('public.clinicians', 'last_name_encrypted')))::varchar(255) AS last_name,
       k.id AS kinship_id
FROM (
    SELECT id, user_0_id AS person_id, user_1_id AS relative_id, user_0_label AS person_label, user_1_label AS relative_label,
           kind, guardian_can_be_contacted
    FROM public.kinships WHERE _fivetran_deleted IS NOT TRUE
    UNION ALL
    SELECT id, user_1_id, user_0_id, user_1_label, user_0_label, kind, guardian_can_be_contacted
    FROM public.kinships WHERE _fivetran_deleted IS NOT TRUE AND user_0_id <> user_1_id
) k
LEFT JOIN public.patients_and_guardians p ON p.id = k.relative_id
LEFT JOIN public.clinicians c ON c.id = k.relative_id
LEFT JOIN public.patients_and_guardians own ON own.id = k.person_id
WHERE p._fivetran_deleted IS NOT TRUE AND c._fivetran_deleted IS NOT TRUE AND own._fivetran_deleted IS NOT TRUE;
COMMENT ON VIEW app.relatives IS
    'Each kinship from both ends: whether the relative is a guardian or a child of the person. Label 12 is both. Names need the key. Indexes idx_kinships_user_0 and idx_kinships_user_1: person_id.';

CREATE FUNCTION app.family(person UUID, max_steps INTEGER DEFAULT 4)
RETURNS TABLE (member_id UUID, steps INTEGER, is_guardian BOOLEAN, is_child BOOLEAN)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    known UUID[] := ARRAY[person];
    newest UUID[] := ARRAY[person];
BEGIN
    IF max_steps IS NULL OR max_steps NOT BETWEEN 1 AND 10 THEN
        RAISE EXCEPTION 'max_steps is not from 1 to 10' USING ERRCODE = 'invalid_parameter_value';
    ELSIF person IS NULL OR EXISTS (SELECT FROM public.patients_and_guardians p WHERE p.id = person AND p._fivetran_deleted) THEN
        RETURN;
    END IF;
    member_id := person; steps := 0; is_guardian := false; is_child := false;
    RETURN NEXT;
    FOR step IN 1 .. max_steps LOOP
        -- What somebody is to the person itself; further away, what they are to those they were found by.
        RETURN QUERY
            SELECT r.relative_id, step, bool_or(r.is_guardian), bool_or(r.is_child)
            FROM app.relatives r WHERE r.person_id = ANY (newest) AND r.relative_id <> ALL (known) GROUP BY r.relative_id;
        newest := ARRAY(SELECT DISTINCT r.relative_id FROM app.relatives r
                        WHERE r.person_id = ANY (newest) AND r.relative_id <> ALL (known));
        EXIT WHEN newest = '{}';
        known := known || newest;
    END LOOP;
END $$;
COMMENT ON FUNCTION app.family(UUID, INTEGER) IS
    'A person and everybody connected by kinships in so many steps: guardians and children in one, other guardians and siblings in two.';

-- Coverage -----------------------------------------------------------------------------------------------

CREATE FUNCTION app.expires_on(profile_data JSONB) RETURNS DATE LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    -- What an export has and the schema does not is kept under export_columns.
    written TEXT := coalesce(profile_data ->> 'expires_on', profile_data -> 'export_columns' ->> 'expires_on');
    parts INTEGER[];
BEGIN
    IF written IS NULL THEN
        RETURN NULL;
    END IF;
    parts := regexp_match(written, '^(\d{4})-(\d\d)-(\d\d)(?:[ T]|$)')::integer[];
    RETURN CASE WHEN parts[1] > 0 AND parts[2] BETWEEN 1 AND 12 AND parts[3] BETWEEN 1 AND
        CASE WHEN parts[2] IN (4, 6, 9, 11) THEN 30 WHEN parts[2] <> 2 THEN 31
             WHEN parts[1] % 4 = 0 AND (parts[1] % 100 <> 0 OR parts[1] % 400 = 0) THEN 29 ELSE 28 END
        THEN make_date(parts[1], parts[2], parts[3]) END;
END $$;
COMMENT ON FUNCTION app.expires_on(JSONB) IS
    'The last day of a coverage, which the plan has no column for: expires_on in profile_data, or a column expires_on of the export. NULL where there is none or it is no date (YYYY-MM-DD).';

CREATE INDEX idx_insurance_coverages_expiry ON insurance_coverages (app.expires_on(profile_data))
    WHERE _fivetran_deleted IS NOT TRUE AND app.expires_on(profile_data) IS NOT NULL;
COMMENT ON INDEX idx_insurance_coverages_expiry IS 'Serves app.coverage_status by expires_on.';

CREATE VIEW app.coverage_status AS
SELECT c.id, c.user_id, c.level, c.kind, c.insurance_company_name,
       c.openpm_insurance_organization_name AS payer_name, c.member_id, c.group_id, c.system_labels, c.eligibility,
       CASE c.eligibility WHEN 0 THEN 'unknown' WHEN 2 THEN 'submitted' WHEN 4 THEN 'eligible' WHEN 6 THEN 'expired' END
           AS eligibility_name,
       app.expires_on(c.profile_data) AS expires_on,
       CASE WHEN isfinite(app.expires_on(c.profile_data)) THEN app.expires_on(c.profile_data) - current_date END AS days_until_expiry,
       coalesce(c.eligibility = 6, false) OR coalesce('expired' = ANY (c.system_labels), false)
           OR coalesce(app.expires_on(c.profile_data) < current_date, false) AS is_expired,
       c.created_by, c.created_at, c.updated_at
FROM public.insurance_coverages c
LEFT JOIN public.patients_and_guardians p ON p.id = c.user_id
WHERE c._fivetran_deleted IS NOT TRUE AND p._fivetran_deleted IS NOT TRUE;
COMMENT ON VIEW app.coverage_status IS
    'Coverages with the name of their eligibility and the days until they expire, where that is known (app.expires_on). Indexes idx_insurance_coverages_user: user_id; idx_insurance_coverages_expiry: expires_on.';

-- Contracts ----------------------------------------------------------------------------------------------

CREATE VIEW app.organization_contracts AS
SELECT link.organization_id, link.contract_id, link.held_by, link.is_own, k.effective_date, k.end_date, k.services, k.terms,
       k.contract_url
FROM (
    SELECT l.organization_id, l.contract_id, l.organization_id AS held_by, true AS is_own FROM public.org_contracts l
    UNION ALL
    SELECT s.id, l.contract_id, l.organization_id, false
    FROM public.organizations s
    JOIN public.organizations d ON d.id = s.parent_organization_id AND d._fivetran_deleted IS NOT TRUE AND d.id <> s.id
    JOIN public.org_contracts l ON l.organization_id = d.id
) link
JOIN public.organizations o ON o.id = link.organization_id AND o._fivetran_deleted IS NOT TRUE
JOIN public.contracts k ON k.id = link.contract_id AND k._fivetran_deleted IS NOT TRUE;
COMMENT ON VIEW app.organization_contracts IS
    'The contracts of each organization: its own, and those of its district (held_by). Index idx_org_contracts_org: organization_id.';

CREATE FUNCTION app.effective_contract(organization UUID, on_day DATE DEFAULT current_date)
RETURNS SETOF app.organization_contracts LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT c.* FROM app.organization_contracts c
    WHERE c.organization_id = organization AND c.effective_date <= on_day AND (c.end_date IS NULL OR c.end_date >= on_day)
    ORDER BY c.is_own DESC, c.effective_date DESC, c.contract_id LIMIT 1;
END;
COMMENT ON FUNCTION app.effective_contract(UUID, DATE) IS
    'The contract that an organization has on a day, both ends included: its own before its district''s, the latest begun first. No row where it has none.';

-- Insurance companies ------------------------------------------------------------------------------------

CREATE FUNCTION app.spelled_out(words TEXT) RETURNS TEXT LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    folded TEXT := CASE WHEN octet_length(words) = length(words) THEN lower(words COLLATE "C") ELSE privacy.plain_letters(words) END;
BEGIN
    folded := ' ' || translate(folded, '&.,;:/_-()[]{}"+*#!?|\''', repeat(' ', 22)) || ' ';
    -- Searched for before it is replaced: most names have none of these.
    IF folded ~ ' (bcbs|bc bs|uhc|and|the|of|inc|llc) ' THEN
        folded := replace(replace(folded, ' bcbs ', ' blue cross blue shield '), ' bc bs ', ' blue cross blue shield ');
        folded := replace(folded, ' uhc ', ' united healthcare ');
        folded := regexp_replace(replace(folded, ' ', '  '), ' (and|the|of|inc|llc) ', ' ', 'g');
    END IF;
    IF folded LIKE '%  %' THEN
        folded := regexp_replace(folded, ' +', ' ', 'g');
    END IF;
    RETURN btrim(folded);
END $$;
COMMENT ON FUNCTION app.spelled_out(TEXT) IS
    'The name of an insurance company as search compares it: without case, accents and punctuation, with common abbreviations in words.';

CREATE FUNCTION app.spellings(name TEXT, payer_name TEXT, legacy_names TEXT[]) RETURNS TEXT[]
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    names TEXT[] := ARRAY[name, payer_name]
        || CASE WHEN array_ndims(legacy_names) > 1 THEN ARRAY(SELECT unnest(legacy_names)) ELSE legacy_names END;
    written TEXT;
    plain TEXT;
    spellings TEXT[] := '{}';
BEGIN
    FOREACH written IN ARRAY names LOOP
        plain := app.spelled_out(left(written, 300));
        CONTINUE WHEN coalesce(plain, '') = '' OR plain = ANY (spellings);
        spellings := spellings || plain;
        IF plain LIKE '% %' THEN -- its initials
            spellings := spellings || regexp_replace(plain, '(\w)\w* ?', '\1', 'g');
        END IF;
    END LOOP;
    RETURN spellings;
END $$;
COMMENT ON FUNCTION app.spellings(TEXT, TEXT, TEXT[]) IS
    'All that an insurance company may be called: its names, old ones and that of the payer, and their initials.';

CREATE FUNCTION app.spelled_together(name TEXT, payer_name TEXT, legacy_names TEXT[]) RETURNS TEXT
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    RETURN array_to_string(app.spellings(name, payer_name, legacy_names), ' ');
END $$;
COMMENT ON FUNCTION app.spelled_together(TEXT, TEXT, TEXT[]) IS 'app.spellings in one text, as the index has them.';

CREATE INDEX idx_clin_cred_insurances_spellings ON clinician_credentialed_insurances
    USING gin (app.spelled_together(name, open_pm_name, legacy_names) gin_trgm_ops) WHERE _fivetran_deleted IS NOT TRUE;
COMMENT ON INDEX idx_clin_cred_insurances_spellings IS 'Serves app.find_insurances.';

CREATE VIEW app.insurance_companies AS
SELECT i.id, i.name, i.open_pm_name AS payer_name, i.legacy_names, i.state, i.country, i.line_of_business, i.network_status,
       i.associates_allowed, parent.id AS parent_id, parent.name AS parent_name,
       app.spelled_together(i.name, i.open_pm_name, i.legacy_names) AS spellings
FROM public.clinician_credentialed_insurances i
LEFT JOIN public.clinician_credentialed_insurances parent
    ON parent.id = i.parent_credentialed_insurance_id AND parent._fivetran_deleted IS NOT TRUE
WHERE i._fivetran_deleted IS NOT TRUE;
COMMENT ON VIEW app.insurance_companies IS
    'Insurance companies with all their spellings; app.find_insurances searches them. Index idx_clin_cred_insurances_spellings.';

-- Bound to the extension's operator when it is made, wherever the extension is, and inlined, so that the index serves it.
CREATE FUNCTION app.is_spelled_like(spellings TEXT, query TEXT) RETURNS BOOLEAN LANGUAGE sql STABLE PARALLEL SAFE
RETURN spellings %> query;
COMMENT ON FUNCTION app.is_spelled_like(TEXT, TEXT) IS
    'Whether a text has words like those of the query, as far as pg_trgm.word_similarity_threshold asks.';

CREATE FUNCTION app.find_insurances(query TEXT, in_state TEXT DEFAULT NULL, max_rows INTEGER DEFAULT 10)
RETURNS TABLE (id UUID, name TEXT, payer_name TEXT, state TEXT, network_status INTEGER, parent_id UUID, score REAL)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off AS $$
DECLARE
    wanted TEXT := app.spelled_out(left(query, 200));
    initials TEXT := replace(wanted, ' ', '');
    threshold TEXT;
    -- Put back at the end: what a function sets stays until the transaction ends. NULL before pg_trgm is loaded.
    sessions_own TEXT := coalesce(current_setting('pg_trgm.word_similarity_threshold', true), '0.6');
BEGIN
    IF max_rows IS NULL OR max_rows NOT BETWEEN 1 AND 1000 THEN
        RAISE EXCEPTION 'max_rows is not from 1 to 1000' USING ERRCODE = 'invalid_parameter_value';
    ELSIF coalesce(wanted, '') = '' THEN
        RETURN;
    END IF;
    -- Close matches are few and soon found; far ones are looked for only where there is nothing closer.
    FOREACH threshold IN ARRAY ARRAY['0.6', '0.45', '0.3'] LOOP
        PERFORM set_config('pg_trgm.word_similarity_threshold', threshold, true);
        RETURN QUERY
            SELECT i.id, i.name::text, i.payer_name::text, i.state::text, i.network_status, i.parent_id, s.score::real
            FROM app.insurance_companies i, LATERAL (
                SELECT max(CASE WHEN spelling IN (wanted, initials) THEN 1.0
                                WHEN length(initials) >= 3 AND spelling NOT LIKE '% %' AND starts_with(spelling, initials) THEN 0.9
                                ELSE (public.word_similarity(wanted, spelling) + public.similarity(wanted, spelling)) / 2 END) AS score
                FROM unnest(app.spellings(i.name, i.payer_name, i.legacy_names)) AS spelling
            ) s
            WHERE app.is_spelled_like(i.spellings, wanted)
              AND (in_state IS NULL OR i.state IS NULL OR upper(i.state) = upper(btrim(in_state)))
            ORDER BY s.score DESC, i.name, i.id LIMIT max_rows;
        EXIT WHEN FOUND;
    END LOOP;
    PERFORM set_config('pg_trgm.word_similarity_threshold', sessions_own, true);
END $$;
COMMENT ON FUNCTION app.find_insurances(TEXT, TEXT, INTEGER) IS
    'Insurance companies by any of their spellings, typing errors and initials too, best first; score is 1 for a spelling as it stands. With a state, those of that state and those without any.';
REVOKE ALL ON FUNCTION app.find_insurances(TEXT, TEXT, INTEGER) FROM PUBLIC;

-- Clinicians ---------------------------------------------------------------------------------------------

CREATE VIEW app.clinician_directory AS
SELECT c.id,
       privacy.unseal(c.first_name_encrypted, (SELECT privacy.key('seal')), privacy.tag('public.clinicians', 'first_name_encrypted'))::varchar(255) AS first_name,
       privacy.unseal(c.last_name_encrypted, (SELECT privacy.key('seal')), privacy.tag('public.clinicians', 'last_name_encrypted'))::varchar(255) AS last_name,
       c.title, c.email, c.licenses, c.licensed_states, c.states_active, c.care_languages, c.care_provider_role,
       c.care_provider_status, c.account_status, c.healthie_id,
       ARRAY(SELECT a.credentialed_insurance_id
             FROM public.clinician_insurance_affiliations a
             JOIN public.clinician_credentialed_insurances i ON i.id = a.credentialed_insurance_id
             WHERE a.care_provider_profile_id = c.id AND a._fivetran_deleted IS NOT TRUE AND i._fivetran_deleted IS NOT TRUE
             ORDER BY a.credentialed_insurance_id) AS insurance_ids
FROM public.clinicians c
WHERE c._fivetran_deleted IS NOT TRUE;
COMMENT ON VIEW app.clinician_directory IS
    'Clinicians with the states and languages they work in and the insurances they take. Names need the key. Indexes clinicians_pkey: id; idx_clin_ins_aff_clinician.';

CREATE FUNCTION app.find_clinicians(
    organization UUID, "from" TIMESTAMPTZ, "to" TIMESTAMPTZ, minutes INTEGER DEFAULT 60, patient UUID DEFAULT NULL,
    insurance UUID DEFAULT NULL, state TEXT DEFAULT NULL, language TEXT DEFAULT NULL
) RETURNS TABLE (clinician_id UUID, first_name TEXT, last_name TEXT, slots BIGINT, first_slot TIMESTAMPTZ)
LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT c.id, c.first_name::text, c.last_name::text, found.slots, found.first_slot
    FROM (SELECT s.clinician_id, count(*) AS slots, min(s.starts_at) AS first_slot
          FROM app.free_slots(organization, "from", "to", minutes, patient, insurance, state, language) s
          GROUP BY s.clinician_id) found
    JOIN app.clinician_directory c ON c.id = found.clinician_id
    ORDER BY found.first_slot, c.id;
END;
COMMENT ON FUNCTION app.find_clinicians(UUID, TIMESTAMPTZ, TIMESTAMPTZ, INTEGER, UUID, UUID, TEXT, TEXT) IS
    'Clinicians who may see an organization''s patients, take an insurance in a state, speak a language and have time; who is free first comes first. As app.free_slots.';
