-- The views compute the key in a part of their own again, as 032_tags made them.

CREATE OR REPLACE VIEW users AS
WITH held AS MATERIALIZED (SELECT privacy.key('seal') AS key)
SELECT
    p.id, p.role, p.email,
    privacy.unseal(p.phone_encrypted, held.key, privacy.tag('public.patients_and_guardians', 'phone_encrypted'))::varchar(50) AS phone,
    privacy.unseal(p.first_name_encrypted, held.key, privacy.tag('public.patients_and_guardians', 'first_name_encrypted'))::varchar(255) AS first_name,
    privacy.unseal(p.preferred_name_encrypted, held.key, privacy.tag('public.patients_and_guardians', 'preferred_name_encrypted'))::varchar(255) AS preferred_name,
    privacy.unseal(p.middle_name_encrypted, held.key, privacy.tag('public.patients_and_guardians', 'middle_name_encrypted'))::varchar(255) AS middle_name,
    privacy.unseal(p.last_name_encrypted, held.key, privacy.tag('public.patients_and_guardians', 'last_name_encrypted'))::varchar(255) AS last_name,
    p.title, p.preferred_language, p.preferred_pronoun, p.self_gender, p.legal_gender,
    privacy.as_date(privacy.unseal(p.birthdate_encrypted, held.key, privacy.tag('public.patients_and_guardians', 'birthdate_encrypted'))) AS birthdate,
    p.profile_data, p.supervisor_id, p.clinical_associate, p.licenses,
    p.licensed_states, p.care_provider_status, p.system_labels, p.supabase_id,
    p.supabase_metadata, privacy.as_jsonb(privacy.unseal(p.address_encrypted, held.key, privacy.tag('public.patients_and_guardians', 'address_encrypted'))) AS address,
    p.healthie_id, p.openpm_reference_id,
    p.account_status, p.openpm_policyholder_id, p.zendesk_id, p.latest_ticket,
    p.created_at, p.updated_at, p._fivetran_deleted, p._fivetran_synced,
    1 AS user_type
FROM patients_and_guardians p, held
UNION ALL
SELECT
    c.id, 2 AS role, c.email,
    privacy.unseal(c.phone_encrypted, held.key, privacy.tag('public.clinicians', 'phone_encrypted'))::varchar(50),
    privacy.unseal(c.first_name_encrypted, held.key, privacy.tag('public.clinicians', 'first_name_encrypted'))::varchar(255),
    privacy.unseal(c.preferred_name_encrypted, held.key, privacy.tag('public.clinicians', 'preferred_name_encrypted'))::varchar(255),
    NULL::varchar(255) AS middle_name,
    privacy.unseal(c.last_name_encrypted, held.key, privacy.tag('public.clinicians', 'last_name_encrypted'))::varchar(255),
    c.title, c.preferred_language, c.preferred_pronoun, NULL::integer AS self_gender, c.legal_gender,
    privacy.as_date(privacy.unseal(c.birthdate_encrypted, held.key, privacy.tag('public.clinicians', 'birthdate_encrypted'))),
    c.profile_data, c.supervisor_id, c.clinical_associate, c.licenses,
    c.licensed_states, c.care_provider_status, c.system_labels, NULL::uuid AS supabase_id,
    NULL::jsonb AS supabase_metadata, privacy.as_jsonb(privacy.unseal(c.address_encrypted, held.key, privacy.tag('public.clinicians', 'address_encrypted'))),
    c.healthie_id, NULL::varchar(50) AS openpm_reference_id,
    c.account_status, NULL::varchar(50) AS openpm_policyholder_id, NULL::varchar(50) AS zendesk_id,
    NULL::varchar(255) AS latest_ticket,
    c.created_at, c.updated_at, c._fivetran_deleted, c._fivetran_synced,
    2 AS user_type
FROM clinicians c, held;


-- app.<table>: as migration 028 has it, with tags.
DO $$
DECLARE
    target TEXT;
    columns TEXT;
BEGIN
    FOREACH target IN ARRAY ARRAY['patients_and_guardians', 'clinicians', 'insurance_coverages'] LOOP
        SELECT string_agg(
                   CASE WHEN e.attname IS NULL OR p.attname = 'email' THEN format('t.%I', p.attname)
                        WHEN p.atttypid = 'date'::regtype
                        THEN format('privacy.as_date(privacy.unseal(t.%I, held.key, privacy.tag(%L, %L))) AS %I',
                                    e.attname, 'public.' || target, e.attname, p.attname)
                        WHEN p.atttypid = 'jsonb'::regtype
                        THEN format('privacy.as_jsonb(privacy.unseal(t.%I, held.key, privacy.tag(%L, %L))) AS %I',
                                    e.attname, 'public.' || target, e.attname, p.attname)
                        ELSE format('privacy.unseal(t.%I, held.key, privacy.tag(%L, %L))::%s AS %I',
                                    e.attname, 'public.' || target, e.attname, format_type(p.atttypid, p.atttypmod), p.attname) END,
                   ', ' ORDER BY p.attnum)
        INTO columns
        FROM pg_attribute p LEFT JOIN pg_attribute e
            ON e.attrelid = p.attrelid AND e.attname = p.attname || '_encrypted' AND NOT e.attisdropped
        WHERE p.attrelid = ('public.' || target)::regclass AND p.attnum > 0 AND NOT p.attisdropped
          AND p.attname NOT LIKE '%\_encrypted' AND p.attname NOT IN
              ('name_tokens', '_source_hash', '_import_id', '_record_number', '_source_updated_at', '_edited_at');
        EXECUTE format('CREATE OR REPLACE VIEW app.%I AS WITH held AS MATERIALIZED (SELECT privacy.key(''seal'') AS key) '
                       'SELECT %s FROM public.%I t, held', target, columns, target);
    END LOOP;
END $$;
