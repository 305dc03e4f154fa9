-- Takes back 028_bound_values.

DO $$
DECLARE
    target TEXT;
BEGIN
    FOREACH target IN ARRAY ARRAY['patients_and_guardians', 'clinicians', 'insurance_coverages'] LOOP
        EXECUTE format('DROP TRIGGER write_to_table ON app.%I', target);
        EXECUTE format('DROP FUNCTION app.update_%s()', target);
        EXECUTE format('ALTER FUNCTION privacy.seal_%s() RESET datestyle', target);
    END LOOP;
END $$;
DROP TRIGGER index_names_on_update ON patients_and_guardians;
DROP TRIGGER index_names_on_update ON clinicians;
DROP FUNCTION privacy.index_names();

CREATE OR REPLACE VIEW users AS
WITH held AS MATERIALIZED (SELECT privacy.key('seal') AS key)
SELECT
    p.id, p.role, p.email,
    privacy.unseal(p.phone_encrypted, held.key)::varchar(50) AS phone,
    privacy.unseal(p.first_name_encrypted, held.key)::varchar(255) AS first_name,
    privacy.unseal(p.preferred_name_encrypted, held.key)::varchar(255) AS preferred_name,
    privacy.unseal(p.middle_name_encrypted, held.key)::varchar(255) AS middle_name,
    privacy.unseal(p.last_name_encrypted, held.key)::varchar(255) AS last_name,
    p.title, p.preferred_language, p.preferred_pronoun, p.self_gender, p.legal_gender,
    privacy.unseal(p.birthdate_encrypted, held.key)::date AS birthdate,
    p.profile_data, p.supervisor_id, p.clinical_associate, p.licenses,
    p.licensed_states, p.care_provider_status, p.system_labels, p.supabase_id,
    p.supabase_metadata, privacy.unseal(p.address_encrypted, held.key)::jsonb AS address,
    p.healthie_id, p.openpm_reference_id,
    p.account_status, p.openpm_policyholder_id, p.zendesk_id, p.latest_ticket,
    p.created_at, p.updated_at, p._fivetran_deleted, p._fivetran_synced,
    1 AS user_type
FROM patients_and_guardians p, held
UNION ALL
SELECT
    c.id, 2 AS role, c.email,
    privacy.unseal(c.phone_encrypted, held.key)::varchar(50),
    privacy.unseal(c.first_name_encrypted, held.key)::varchar(255),
    privacy.unseal(c.preferred_name_encrypted, held.key)::varchar(255),
    NULL::varchar(255) AS middle_name,
    privacy.unseal(c.last_name_encrypted, held.key)::varchar(255),
    c.title, c.preferred_language, c.preferred_pronoun, NULL::integer AS self_gender, c.legal_gender,
    privacy.unseal(c.birthdate_encrypted, held.key)::date,
    c.profile_data, c.supervisor_id, c.clinical_associate, c.licenses,
    c.licensed_states, c.care_provider_status, c.system_labels, NULL::uuid AS supabase_id,
    NULL::jsonb AS supabase_metadata, privacy.unseal(c.address_encrypted, held.key)::jsonb,
    c.healthie_id, NULL::varchar(50) AS openpm_reference_id,
    c.account_status, NULL::varchar(50) AS openpm_policyholder_id, NULL::varchar(50) AS zendesk_id,
    NULL::varchar(255) AS latest_ticket,
    c.created_at, c.updated_at, c._fivetran_deleted, c._fivetran_synced,
    2 AS user_type
FROM clinicians c, held;

DO $$
DECLARE
    target TEXT;
    columns TEXT;
BEGIN
    FOREACH target IN ARRAY ARRAY['patients_and_guardians', 'clinicians', 'insurance_coverages'] LOOP
        SELECT string_agg(
                   CASE WHEN e.attname IS NULL OR p.attname = 'email' THEN format('t.%I', p.attname)
                        ELSE format('privacy.unseal(t.%I, held.key)::%s AS %I', e.attname,
                                    format_type(p.atttypid, p.atttypmod), p.attname) END,
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

DROP TABLE privacy.sealed_looks;
DROP TABLE privacy.sealed_faults;
DROP FUNCTION privacy.sealed_fault(BYTEA, TEXT, INTEGER, BYTEA);
DROP FUNCTION privacy.as_object(TEXT);
DROP FUNCTION privacy.as_jsonb(TEXT);
DROP FUNCTION privacy.as_date(TEXT);
